"""A seeded split in which no two splits share a record: copies of one record travel together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import InputError
from .base import Dataset

NAMES = ("train", "valid", "test")
SHARE = 0.15  # of the rows, for valid and again for test


def grouped(
    keys: Sequence[str], labels: Sequence[Any] | None, seed: int, weights: Sequence[int] | None = None
) -> list[list[int]]:
    """Row numbers of train, valid and test: 70/15/15, by content key; with labels each class is split so by itself.

    Rows of one key stay together (a key with several labels goes with its first). Every class needs three
    different keys, so that each split has one. `weights` counts rows by something else, such as bytes.
    """
    group: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        group[key].append(i)
    strata: dict[Any, list[list[int]]] = defaultdict(list)
    for rows in group.values():
        strata[None if labels is None else labels[rows[0]]].append(rows)
    rng = np.random.default_rng(seed)
    split: list[list[int]] = [[], [], []]
    for label in sorted(strata, key=str):
        groups = [strata[label][i] for i in rng.permutation(len(strata[label]))]
        if len(groups) < 3:
            whose = "" if labels is None else f"class {label!r} "
            raise InputError(
                f"{whose}holds {len(groups)} different rows; at least 3 are needed to train, tune and test"
            )
        for part, chosen in zip(split, _deal(groups, weights), strict=True):
            part.extend(i for rows in chosen for i in rows)
    return [sorted(part) for part in split]


def _deal(groups: list[list[int]], weights: Sequence[int] | None) -> list[list[list[int]]]:
    """Groups dealt to valid, then test, until each has its share of the weight; the rest is train. Each gets one."""
    weigh = [sum(weights[i] if weights else 1 for i in rows) for rows in groups]
    goal = SHARE * sum(weigh)
    parts: list[list[list[int]]] = [[], [], []]
    at = 0
    for part in (1, 2):
        got = 0
        while not parts[part] or (at < len(groups) - (3 - part) and got + weigh[at] / 2 <= goal):
            parts[part].append(groups[at])
            got += weigh[at]
            at += 1
    parts[0] = groups[at:]
    return parts


def in_order(length: int) -> tuple[int, int]:
    """Where valid and test begin in a series or a text of this length: 70/15/15 in its own order."""
    return round((1 - 2 * SHARE) * length), round((1 - SHARE) * length)


def split_names(data: Dataset) -> dict[str, list[str]]:
    """The written split: where every example of train, valid and test came from."""
    return {name: list(getattr(data, name).source) for name in NAMES}
