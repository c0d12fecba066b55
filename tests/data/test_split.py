"""The split is seeded, stratified, and no two parts share a record."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from panformer.data.open import open_data
from panformer.data.split import grouped, in_order, split_names


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=3, max_size=200), st.integers(0, 5))
def test_copies_never_part_and_nothing_is_lost(rows: list[tuple[int, int]], seed: int) -> None:
    keys = [str(k) for k, _ in rows]
    if len(set(keys)) < 3:
        return
    parts = grouped(keys, None, seed)
    assert sorted(i for p in parts for i in p) == list(range(len(rows)))
    held = [{keys[i] for i in p} for p in parts]
    assert sum(map(len, held)) == len(set.union(*held))
    assert all(held)
    assert parts == grouped(keys, None, seed)


def test_each_class_is_split_70_15_15() -> None:
    labels = ["a"] * 600 + ["b"] * 100 + ["c"] * 3
    parts = grouped([str(i) for i in range(len(labels))], labels, 0)
    counts = [Counter(labels[i] for i in p) for p in parts]
    assert [c["a"] for c in counts] == [420, 90, 90]
    assert [c["b"] for c in counts] == [70, 15, 15]
    assert [c["c"] for c in counts] == [1, 1, 1]


def test_another_seed_is_another_split() -> None:
    keys = [str(i) for i in range(100)]
    assert grouped(keys, None, 0) != grouped(keys, None, 1)


def test_copies_in_a_file_stay_in_one_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 30, 300)  # many copies of 30 different rows
    path = tmp_path / "c.csv"
    path.write_text("a,b,y\n" + "".join(f"{v},{v * 2},{'pq'[v % 2]}\n" for v in values))
    data = open_data(str(path), target="y", seed=3)
    seen = [{tuple(x.flatten().tolist()) for x in part.inputs} for part in (data.train, data.valid, data.test)]
    assert sum(map(len, seen)) == len(set.union(*seen))
    assert data.facts["duplicates"] == 300 - len(set(values.tolist()))
    assert any("equal an earlier one" in w for w in data.facts["warnings"])


def test_the_written_split_names_every_row_once(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("a,y\n" + "".join(f"{i},{'pq'[i % 2]}\n" for i in range(40)))
    data = open_data(str(path), target="y")
    names = split_names(data)
    assert sorted(n for part in names.values() for n in part) == sorted(f"{path}:{i + 2}" for i in range(40))
    assert [len(v) for v in names.values()] == [data.facts["split"][k] for k in names]


def test_the_hash_tells_content_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    content = "a,y\n" + "".join(f"{i},{'pq'[i % 2]}\n" for i in range(40))
    path.write_text(content)
    first = open_data(str(path), target="y")
    assert open_data(str(path), target="y").hash == first.hash != ""
    assert open_data(str(path), target="y", seed=1).hash != first.hash
    path.write_text(content.replace("7,q", "70,q"))
    assert open_data(str(path), target="y").hash != first.hash


@pytest.mark.parametrize("length", [7, 20, 1000])
def test_time_comes_in_order(length: int) -> None:
    valid, test = in_order(length)
    assert 0 < valid < test < length


def test_mixed_labels_of_copies_are_said(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("a,y\n" + "".join(f"{i},{'pq'[i % 2]}\n" for i in range(30)) + "4,q\n")
    data = open_data(str(path), target="y")
    assert any("different labels" in w and ":6" in w and ":32" in w for w in data.facts["warnings"])
