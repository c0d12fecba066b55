"""docs/recommend.md says what the committed evidence says, no more and no less."""

import importlib.util
import re
from pathlib import Path

from panformer.atlas import advice
from panformer.papers import catalogue

ROOT = Path(__file__).parent.parent


def tool():
    spec = importlib.util.spec_from_file_location("recommend", ROOT / "tools" / "recommend.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tool_prints():
    made = tool()
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "run: python tools/recommend.py"


def test_every_line_is_an_upheld_check_of_the_paper_it_links():
    text = tool().page()
    for line in re.findall(r"^\|.*\.json\) \|$", text, re.M):
        slug = re.search(r"\[([\w-]+)\]\(", line)[1]
        evidence = catalogue.find(slug).evidence
        means = [
            f"{c['interval']['mean']:.3g}" for c in evidence["checks"] if c["verdict"] == "upheld" and c["interval"]
        ]
        assert any(mean in line for mean in means), line


def test_a_check_that_was_not_upheld_recommends_nothing():
    found = [(r, c) for r, c in advice.checks() if "task" in c["check"]]
    row, check = next((r, c) for r, c in found if (c["judge"], c["verdict"]) == ("beats", "upheld"))
    told, *rest = (
        advice.quality([(row, {**check, "verdict": v})]).rows for v in ("upheld", "not upheld", "inconclusive")
    )
    assert len(told) == 1 and told[0][-1] == row.slug
    assert rest == [[], []]


def test_what_attention_was_kept_from_seeing_is_said():
    """A bare name would recommend against attention what was better than a window of it, or than half the input."""
    lines = advice.quality(advice.checks()).rows
    rather = {line[3] for line in lines if line[-1] == "longformer"}
    assert rather == {"attention (window 9)", "attention (seen 64)"}
    assert [line for line in lines if line[2] == line[3]] == []
