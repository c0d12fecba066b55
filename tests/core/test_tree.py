"""Shipped YAML is read as a safe loader reads it, and what it may not hold is told in one line."""

from pathlib import Path

import pytest
import yaml

import panformer
from panformer.core.errors import InputError
from panformer.core.tree import read_shipped

SHIPPED = sorted(Path(panformer.__file__).parent.rglob("*.yaml"))
WORDS = """
plain: [1, -2, 0x1F, 1.5, 1.0e-3, 1e-3, .inf, true, No, null, ~, word, two words, 2026-01-02]
quoted: ["1", 'true', "", "~"]
folded: >-
  one
  line
named: &kept {a: 1, b: [x]}
again: *kept
empty:
"""


def test_shipped_files_are_read_as_a_safe_loader_reads_them(tmp_path):
    (tmp_path / "words.yaml").write_text(WORDS)
    assert len(SHIPPED) > 50
    for path in [*SHIPPED, tmp_path / "words.yaml"]:
        want = yaml.safe_load(path.read_text(encoding="utf-8"))
        got = read_shipped(path)
        assert got == want and repr(got) == repr(want), f"{path.name} reads as something else"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "key 'a' is given twice"),
        ("a:\n  - !!python/name:os.system x", "line 2: tags such as"),
        ("a: *b", "line 1: nothing is named 'b'"),
        ("a: 1\n---\nb: 2", "a second document"),
        ("a: [1", "line 1"),
    ],
)
def test_what_a_shipped_file_may_not_hold_is_told_in_one_line(tmp_path, text, says):
    path = tmp_path / "one.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"one\.yaml") as fault:
        read_shipped(path)
    assert says in str(fault.value) and "\n" not in str(fault.value)


def test_an_empty_file_is_nothing(tmp_path):
    (tmp_path / "one.yaml").write_text("# only a remark\n")
    assert read_shipped(tmp_path / "one.yaml") is None
