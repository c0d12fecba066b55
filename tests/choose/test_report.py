"""The report is one page that stands alone, says the numbers, and runs nothing that the data holds."""

import json
from html.parser import HTMLParser

import pytest

from panformer.choose import outcome, report
from panformer.choose.options import Limits, options
from panformer.core.errors import InputError
from panformer.data.base import Task

TASK = Task("classification", "values", "accuracy", classes=("a", "b"), channels=2, vocab=3, columns=("x", "y"))


def entry(name, kind, valid, right, latency, size, seeds):
    """A contender whose every seed answers the same test rows right, from a string of 0 and 1."""
    scores = {"sums": [[float(r)] for r in right], "weights": [1.0] * len(right), "scale": [1.0], "root": False}
    run = {
        "valid": valid,
        "test": sum(map(int, right)) / len(right),
        "further": {"log loss": 0.4},
        "scores": scores,
        "size_mb": size,
    }
    curve = {"losses": [[5, 0.7], [10, 0.5]], "checks": [[5, 0.6], [10, valid]], "best_step": 10}
    return {
        "name": name, "kind": kind, "note": "a note", "best": 0, "size_mb": size, "memory_mb": 3.0,
        "runs": [{**run, "curve": curve, "folder": name} for _ in range(seeds)],
        "latency": {"1": {"median": latency, "p95": 2 * latency, "calls": 50}},
    }  # fmt: skip


def contenders():
    return [
        entry("attention", "candidate", 0.9, "1" * 45 + "0" * 5, 1.0, 0.3, 3),
        entry("mamba", "candidate", 0.8, "1" * 40 + "0" * 10, 3.0, 0.4, 3),
        entry("LightGBM", "baseline", 0.85, "0" * 25 + "1" * 25, 0.2, 0.1, 1),
    ]


def told(name="flowers", **limits):
    asked = options(data=name, limits=limits)
    entries = contenders()
    trial = {"mixer": "attention", "choice": {"width": 32}, "state": "complete", "value": 0.9, "checks": [[5, 0.9]]}
    data = {
        "name": name, "task": "classification", "measure": "accuracy", "hash": "abc", "inputs": "rows of 2 columns",
        "why": ["because"], "warnings": ["a warning"], "rows": {}, "classes": {"a": 9}, "lengths": None,
        "split": {"train": 70, "valid": 15, "test": 15, "rule": "by class", "seed": 0},
        "refused": ["row 7: empty"], "refused_count": 1,
    }  # fmt: skip
    return {
        "data": data, "options": asked.model_dump(), "outcome": outcome.decide(entries, asked, TASK),
        "contenders": entries, "excluded": {"cross_attention": "needs memory"}, "search": {"t": trial}, "plan": {},
        "spent": {"search": 61.0}, "versions": {"python": "3.11"},
        "machine": {"cpu": "a cpu", "cores": 2, "threads": 1, "memory_gb": 8, "system": "Linux"},
    }  # fmt: skip


class Page(HTMLParser):
    VOID = {"meta", "br", "use", "path", "circle", "rect", "image"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_the_page_stands_alone():
    text = report.html(told(), "runs/flowers")
    page = Page(text)
    assert not page.open, f"left open: {page.open}"
    assert all(link.startswith("#") for link in page.links), f"reaches outside: {page.links}"
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "figure" for tag, _ in page.tags) == 4
    assert all(a.get("aria-label") for tag, a in page.tags if tag == "figure"), "a figure without words"
    assert "prefers-color-scheme: dark" in text
    assert "#010203" not in text, "ink that dark mode cannot change"


def test_the_page_says_what_happened():
    text = report.html(told(latency_ms=2), "runs/flowers")
    for words in (
        "attention is chosen",
        "a warning",
        "row 7: empty",
        "needs memory",
        "a cpu",
        "1.0 minutes of the 10",
        "latency 2 ms",
        "scored by accuracy: the share of rows answered right (higher is better)",
        "(1 thread used)",
    ):
        assert words in text, f"{words!r} is missing"
    assert "latency 3 ms is over the limit of 2 ms" in text


def test_names_from_the_data_are_not_run():
    text = report.html(told(name="<script>alert(1)</script>"), "runs/x")
    assert "<script>" not in text


def test_the_same_outcome_draws_the_same_page():
    assert report.html(told(), "x") == report.html(told(), "x")


def test_the_winner_is_the_best_on_validation():
    found = outcome.decide(contenders(), options(data="x"), TASK)
    assert found["ranking"] == ["attention", "LightGBM", "mamba"]
    assert found["front"] == ["LightGBM", "attention"], "mamba is beaten everywhere"
    assert "better than LightGBM on the test split" in " ".join(found["verdict"])


def test_a_baseline_can_win_and_is_told_so():
    entries = contenders()
    entries[2]["runs"][0]["valid"] = 0.95
    found = outcome.decide(entries, options(data="x"), TASK)
    assert found["winner"] == "LightGBM"
    assert "worse than attention on the test split, although validation put it first" in " ".join(found["verdict"])


def test_equal_contenders_are_not_called_better():
    entries = [
        entry(n, k, v, "1" * 40 + "0" * 10, 1.0, 0.1, s)
        for n, k, v, s in (("a", "candidate", 0.9, 3), ("b", "baseline", 0.89, 1))
    ]
    found = outcome.decide(entries, options(data="x"), TASK)
    says = "both reach accuracy 0.8, the same on every row; 50 rows cannot rule out a difference of up to 0.071"
    assert found["verdict"][1] == f"level with b on the test split: {says}"
    assert found["compared"]["b"]["high"] == -found["compared"]["b"]["low"] == pytest.approx(0.0711, abs=1e-4)
    entries[1] = entry("b", "baseline", 0.89, "0" * 10 + "1" * 40, 1.0, 0.1, 1)
    assert "no better than b" in outcome.decide(entries, options(data="x"), TASK)["verdict"][1], "other rows are wrong"


def test_a_difference_says_who_is_ahead():
    entries = [entry("a", "baseline", 0.9, "1" * 30 + "0" * 20, 1.0, 0.3, 1), entry("b", "baseline", 0.8, "1" * 40 + "0" * 10, 1.0, 0.3, 1)]  # fmt: skip
    said = outcome.decide(entries, options(data="x"), TASK)["verdict"][1]
    assert said.startswith("worse than b") and "apart by -0.2 (95% interval -0.3" in said, said


@pytest.mark.parametrize(("seeds", "right", "low", "high"), [(1, "111111", 0.541, 1), (3, "0000", 0, 0.602), (3, "1" * 500, 0.9926, 1)])  # fmt: skip
def test_a_few_rows_all_right_are_no_certainty(seeds, right, low, high):
    found = outcome.tested(entry("a", "candidate", 1, right, 1.0, 0.1, seeds), TASK)
    assert found.low == pytest.approx(low, abs=1e-3) and found.high == pytest.approx(high, abs=1e-3)


def test_the_page_groups_reasons_quotes_folders_and_points_to_warnings():
    found = told()
    found["excluded"] = {"pool": "needs a lattice", "fnet": "too slow", "grid_conv": "needs a lattice"}
    text = report.html(found, "runs/my flowers")
    assert text.count("needs a lattice") == 1 and "pool, grid_conv" in text
    assert "panformer predict &#39;runs/my flowers/best&#39; INPUT" in text
    assert 'href="#warnings"' in text and 'id="warnings"' in text


def test_limits_pass_over_what_is_too_slow():
    found = outcome.decide(contenders(), options(data="x", limits={"latency_ms": 0.5}), TASK)
    assert found["ranking"] == ["LightGBM"]
    assert found["over"]["attention"] == "latency 1 ms is over the limit of 0.5 ms"


def test_nothing_fits_names_the_nearest():
    with pytest.raises(
        InputError, match=r"nearest is LightGBM: latency 0.2 ms is over the limit of 0.1 ms, size 0.1 MB is over"
    ):
        outcome.decide(contenders(), options(data="x", limits={"latency_ms": 0.1, "size_mb": 0.06}), TASK)


def test_json_and_card(tmp_path):
    found = told()
    report.write(tmp_path, found)
    tree = json.loads((tmp_path / "report.json").read_text())
    assert tree["outcome"]["winner"] == "attention"
    assert "scores" not in tree["contenders"][0]["runs"][0]
    card = report.card(found["contenders"][0], found)
    assert "| validation accuracy | 0.9 |" in card
    assert "better than LightGBM" in card
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_limits_say_what_is_missed():
    limits = Limits(latency_ms=1, size_mb=2)
    assert limits.says({"latency_ms": 0.9, "size_mb": 1.9, "memory_mb": 99}) == ""
    assert limits.over({"latency_ms": 3.0, "size_mb": None, "memory_mb": 99}) == {"latency_ms": 3.0}
