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
            Entry("phonebook", {"use": "phonebook"}, "entries", (4, 8, 16), 1 / 1000,
                  "the number of a name, all digits", "Jelassi et al. 2024, Repeat After Me", (100,),
                  {"steps": 600, "batch": 32, "rate": 3e-3}),
            Entry("needle", {"use": "needle"}, "length", (32, 64, 128), 1 / 8,
                  "one fact in a long document", "the needle in a haystack", (1024, 4096)),
        )),
        Suite("state", "what must be carried along", (
            Entry("parity", {"use": "words", "order": 2}, "length", (8, 16, 32), 1 / 2,
                  "whether the ones so far are odd", "Liu et al. 2023, Shortcuts to automata", (100,)),
            Entry("modulo-5", {"use": "words", "order": 5}, "length", (8, 16, 32), 1 / 5,
                  "the sum so far modulo 5", "Liu et al. 2023, Shortcuts to automata", (100,)),
            Entry("permutations-3", {"use": "words", "group": "symmetric", "order": 3}, "length", (8, 16, 32), 1 / 6,
                  "where three things are after swaps", "Merrill et al. 2024, The illusion of state", (100,)),
            Entry("permutations-5", {"use": "words", "group": "symmetric", "order": 5}, "length", (8, 16, 32), 1 / 120,
                  "where five things are after swaps", "Merrill et al. 2024, The illusion of state", (100,),
                  {"steps": 1000, "batch": 32, "rate": 3e-3}),
            Entry("addition", {"use": "addition", "first": "low", "score": "digit"}, "high", (3, 5, 8), 1 / 10,
                  "sums of two numbers, lowest digit first", "Zhou et al. 2024, Length generalization", (40,),
                  {"steps": 600, "batch": 32, "rate": 3e-3}),
            Entry("sort", {"use": "sort"}, "high", (4, 8, 16), 1 / 32,
                  "numbers in order", "a classic of algorithmic tasks", (64,)),
            Entry("regression", {"use": "regression"}, "pairs", (4, 8, 16), None,
                  "a linear function from its examples; error of guessing 0 is 1", "Garg et al. 2022", (40,)),
        )),
        Suite("mad", "the synthetic tasks of MAD; compression, which needs a decoder of its own, is not among them", (
            Entry("in-context-recall", {"use": "recall", "vocab": 16}, "pairs", (16, 32, 64), 1 / 8,
                  "values of keys that came before", "Poli et al. 2024, MAD", (64,)),
            Entry("fuzzy-recall", {"use": "fuzzy_recall"}, "pairs", (3, 6, 8), 0.0,
                  "keys and values of several tokens", "Poli et al. 2024, MAD", (64,)),
            Entry("noisy-recall", {"use": "recall", "vocab": 16, "noise": 1}, "pairs", (16, 32, 64), 1 / 8,
                  "recall among tokens without meaning", "Poli et al. 2024, MAD", (64,)),
            Entry("mad-selective-copy", {"use": "selective_copy", "vocab": 16, "symbols": 8}, "length", (32, 64, 128), 1 / 16,
                  "symbols among blanks, in their order", "Poli et al. 2024, MAD", (256,)),
            Entry("memorisation", {"use": "memorise"}, "keys", (64, 128, 256), 1 / 16,
                  "a dictionary learned into the weights; the length is that of the dictionary", "Poli et al. 2024, MAD", (8192,)),
        )),
        Suite("lra", "the forms of the Long Range Arena, at lengths a CPU can train and at the published ones", (
            Entry("listops", {"use": "listops", "low": 8, "depth": 5}, "high", (24, 48, 96), 1 / 10,
                  "the value of a nested expression (published: depth=10;arms=10;low=500)",
                  "Nangia and Bowman 2018; Tay et al. 2020", (2000,), {"steps": 600, "batch": 32, "rate": 2e-3}),
            Entry("bytes", {"use": "sections"}, "length", (64, 128, 256), 1 / 6,
                  "which standard package a piece of source is from, in place of IMDB's sentiment", "Tay et al. 2020", (4096,)),
            Entry("same-source", {"use": "same_source"}, "length", (32, 64, 128), 1 / 2,
                  "whether two pieces are of one package, in place of the ACL anthology", "Tay et al. 2020", (4000,)),
            Entry("pixels", {"use": "digits", "form": "pixels"}, "cell", (1,), 1 / 10,
                  "a digit of 8 x 8 as a row of 64 pixels, in place of CIFAR-10", "Tay et al. 2020 (1024 pixels)"),
            Entry("pathfinder", {"use": "pathfinder"}, "side", (12, 16, 24), 1 / 2,
                  "whether two circles are the ends of one curve; the length is the picture's side, 128 is Path-X",
                  "Linsley et al. 2018; Tay et al. 2020", (32, 128), {"steps": 1000, "batch": 32, "rate": 1e-3}),
        )),
        Suite("series", "real and drawn series", (
            Entry("weather", {"use": "weather"}, "lookback", (48, 96, 192), None,
                  "hourly weather of an airport, squared error of 24 hours ahead", "R package nycflights13 (ASOS)"),
            Entry("lagged", {"use": "lagged"}, "lookback", (24, 48, 96), None,
                  "series that follow their neighbours, squared error", "drawn"),
        )),
        Suite("real", "real text and pictures", (
            Entry("docs", {"use": "text", "source": "docs"}, "length", (64, 128, 256), None,
                  "bytes of Python's help topics, bits per byte", "the running interpreter"),
            Entry("code", {"use": "text", "source": "code"}, "length", (64, 128, 256), None,
                  "bytes of Python's standard library, bits per byte", "the running interpreter"),
            Entry("digit-bags", {"use": "bags"}, "size", (16, 32, 64), 1 / 2,
                  "whether a bag of handwritten digits holds a nine", "scikit-learn's copy of the UCI digits"),
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
