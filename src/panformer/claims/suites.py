"""Tasks in groups, with the lengths at which they are compared: what `panformer compare` and `panformer tasks` know by name.

`lengths` suit a CPU, `published` are those of the source. Light: no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import unknown

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One task as it is compared. `size` is the option that a length is given to, `chance` what guessing reaches (None
    where the measure is an error), `train` steps, batch and rate with which attention learns within about a minute."""

    name: str
    task: Tree
    size: str
    lengths: tuple[int, ...]
    chance: float | None
    about: str
    source: str
    published: tuple[int, ...] = ()
    train: Tree = field(default_factory=lambda: {"steps": 300, "batch": 32, "rate": 3e-3})

    def at(self, length: int) -> dict[str, Any]:
        """The task's tree at a length."""
        return {**self.task, self.size: length}


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    entries: tuple[Entry, ...]


SUITES: dict[str, Suite] = {
    s.name: s
    for s in (
        Suite("recall", "what was said earlier, asked for later", (
            Entry("mqar", {"use": "mqar", "vocab": 64}, "pairs", (4, 8, 16), 1 / 32,
                  "pairs of keys and values, then every key again", "Arora et al. 2023, Zoology", (4, 8, 16, 32, 64)),
            Entry("induction", {"use": "induction"}, "length", (16, 32, 64), 1 / 16,
                  "what followed a marker when it came first", "Gu and Dao 2023, Mamba", (256,)),
            Entry("selective-copy", {"use": "selective_copy"}, "length", (16, 32, 64), 1 / 8,
                  "symbols among blanks, in their order", "Gu and Dao 2023, Mamba", (4096,)),
            Entry("copy", {"use": "copy"}, "high", (8, 16, 32), 1 / 26,
                  "a string of symbols, once more", "Jelassi et al. 2024, Repeat After Me", (300,)),
            Entry("needle", {"use": "needle"}, "length", (32, 64, 128), 1 / 8,
                  "one fact in a long document", "the needle in a haystack", (1024, 4096)),
        )),
        Suite("lra", "the forms of the Long Range Arena at lengths a CPU can train", (
            Entry("listops", {"use": "listops", "low": 8}, "high", (24, 48, 96), 1 / 10,
                  "the value of a nested expression", "Nangia and Bowman 2018; Tay et al. 2020", (2000,),
                  {"steps": 600, "batch": 32, "rate": 2e-3}),
        )),
        Suite("real", "real text", (
            Entry("docs", {"use": "text", "source": "docs"}, "length", (64, 128, 256), None,
                  "bytes of Python's help topics, bits per byte", "the running interpreter"),
            Entry("code", {"use": "text", "source": "code"}, "length", (64, 128, 256), None,
                  "bytes of Python's standard library, bits per byte", "the running interpreter"),
        )),
    )
}  # fmt: skip


def find(name: str) -> Entry | Suite:
    """A suite or an entry by name."""
    entries = {e.name: e for s in SUITES.values() for e in s.entries}
    found: Entry | Suite | None = SUITES.get(name) or entries.get(name)
    if found is None:
        raise unknown("task or suite", name, [*SUITES, *entries])
    return found
