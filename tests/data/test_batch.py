"""Batches: deterministic, complete, padded as said, resumable to the bit."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from panformer.core.errors import InputError
from panformer.data.base import Examples, Task
from panformer.data.batch import Batch, Batches

VALUES = Task("classification", "values", "accuracy", classes=("a", "b"), channels=2)
TEXT = Task("language", "tokens", "bits_per_byte", vocab=258)
IMAGE = Task("classification", "image", "accuracy", classes=("a", "b"), channels=1, grid=(3, 4))


def ragged(count: int = 50) -> Examples:
    lengths = torch.randint(1, 30, (count,), generator=torch.Generator().manual_seed(0)).tolist()
    inputs = [torch.full((n, 2), float(i)) for i, n in enumerate(lengths)]
    return Examples(inputs, [torch.tensor(i % 2) for i in range(count)], [str(i) for i in range(count)])


def same(a: Batch, b: Batch) -> bool:
    return all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_holds_every_example_once(shuffle: bool) -> None:
    examples = ragged()
    batches = Batches(examples, VALUES, 8, shuffle=shuffle)
    found = list(batches)
    assert len(found) == len(batches) == 7
    assert sorted(torch.cat([b.index for b in found]).tolist()) == list(range(50))
    for b in found:
        lengths = torch.full((len(b.x),), b.x.shape[1]) if b.lengths is None else b.lengths
        for row, length, y, i in zip(b.x, lengths, b.y, b.index.tolist(), strict=True):
            assert length == len(examples.inputs[i])
            assert torch.equal(row[:length], examples.inputs[i])
            assert not row[length:].any()
            assert y == i % 2


def test_lengths_are_bucketed() -> None:
    examples = ragged(640)
    for shuffle in (True, False):
        found = list(Batches(examples, VALUES, 8, shuffle=shuffle))
        padded = sum(b.x.shape[0] * b.x.shape[1] for b in found)
        assert padded < 1.1 * sum(len(x) for x in examples.inputs)
    order = [b.index.tolist() for b in Batches(examples, VALUES, 8)]
    longest = [max(len(examples.inputs[i]) for i in b) for b in order]
    assert longest != sorted(longest), "batches come in random order"


def test_epochs_and_seeds_differ_and_repeat() -> None:
    one, two, other = Batches(ragged(), VALUES, 8), Batches(ragged(), VALUES, 8), Batches(ragged(), VALUES, 8, seed=1)
    first, second = list(one), list(one)
    assert all(same(a, b) for a, b in zip(first + second, [*two, *two], strict=True))
    assert [b.index.tolist() for b in first] != [b.index.tolist() for b in second]
    assert [b.index.tolist() for b in first] != [b.index.tolist() for b in other]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 20), st.integers(1, 9))
def test_resume_gives_the_same_rest(taken: int, size: int) -> None:
    def stream(batches: Batches, count: int) -> list[Batch]:
        found: list[Batch] = []
        while len(found) < count:
            for batch in batches:
                found.append(batch)
                if len(found) == count:
                    break
        return found

    whole = stream(Batches(ragged(), VALUES, size, seed=4), taken + 12)
    half = Batches(ragged(), VALUES, size, seed=4)
    stream(half, taken)
    again = Batches(ragged(), VALUES, size, seed=4)
    again.restore(json.loads(json.dumps(half.state())))
    assert all(same(a, b) for a, b in zip(whole[taken:], stream(again, 12), strict=True))


@pytest.mark.parametrize(
    ("name", "change"), [("size", {"size": 4}), ("seed", {"seed": 1}), ("shuffle", {"shuffle": False})]
)
def test_a_state_of_other_batches_is_refused(name: str, change: dict[str, Any]) -> None:
    state = Batches(ragged(), VALUES, 8).state()
    with pytest.raises(InputError, match=f"taken with {name}="):
        Batches(ragged(), VALUES, **{"size": 8, **change}).restore(state)
    with pytest.raises(InputError, match="examples=50"):
        Batches(ragged(40), VALUES, 8).restore(state)


def test_fixed_lengths_and_pictures_stack() -> None:
    examples = Examples([torch.ones(3, 2)] * 5, [torch.tensor(0.5)] * 5, ["x"] * 5)
    task = Task("regression", "values", "rmse", channels=2)
    assert all(b.lengths is None for b in Batches(examples, task, 2))
    pictures = Examples([torch.ones(1, 3, 4)] * 5, [torch.tensor(1)] * 5, ["x"] * 5)
    first = next(iter(Batches(pictures, IMAGE, 2)))
    assert (first.x.shape, first.lengths, first.y.dtype) == ((2, 1, 3, 4), None, torch.int64)


def predicted(found: list[Batch]) -> list[Tensor]:
    """The ids that each window predicts, by window."""
    rows = {}
    for b in found:
        for k, i in enumerate(b.index.tolist()):
            rows[i] = b.x[k, 1 : None if b.lengths is None else int(b.lengths[k])]
    return [rows[i] for i in sorted(rows)]


@pytest.mark.parametrize("tokens", [2, 7, 16, 500])
def test_language_windows_predict_every_id_once(tokens: int) -> None:
    documents = [torch.arange(1, 40), torch.arange(100, 123), torch.tensor([256])]
    batches = Batches(Examples(documents, None, ["a", "b", "c"]), TEXT, 3, tokens=tokens)
    found = list(batches)
    assert all(b.y is None and b.x.shape[1] <= tokens for b in found)
    assert torch.equal(torch.cat(predicted(found)), torch.cat(documents)[1:])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Batches(ragged(), VALUES, 0), "batch size is 0"),
        (lambda: Batches(ragged(), VALUES, 8, tokens=9), "language only"),
        (lambda: Batches(Examples([torch.arange(9)], None, ["a"]), TEXT, 8), "needs tokens"),
        (lambda: Batches(Examples([torch.arange(9)], None, ["a"]), TEXT, 8, tokens=1), "at least 2"),
        (lambda: Batches(Examples([torch.arange(1)], None, ["a"]), TEXT, 8, tokens=4), "single token"),
        (lambda: Batches(Examples([], [], []), VALUES, 8), "no examples"),
    ],
)
def test_impossible_batches_are_refused(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()
