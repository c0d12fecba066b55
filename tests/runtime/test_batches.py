"""Batches of a token budget: everything once, in the order asked, with the answers of single sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import panformer
from panformer.core.errors import InputError
from panformer.runtime import answers, batches

HEADS = {
    "per sequence": {"use": "classify", "classes": 3},
    "number": "regress",
    "per token": {"use": "tag", "classes": 3},
    "none": None,
}
MIXERS = {
    "attention": {"use": "attention", "heads": 2, "position": "rope"},
    "window": {"use": "attention", "heads": 2, "window": 3},
    "mamba": "mamba",
    "fourier": "fourier",
}


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 50), max_size=40), tokens=st.integers(1, 120))
def test_every_index_once_and_no_batch_over_budget(lengths, tokens):
    found = batches(lengths, tokens)
    assert sorted(i for b in found for i in b) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in b) <= tokens or len(b) == 1 for b in found)
    sizes = [lengths[i] for b in found for i in b]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_answers_are_those_of_single_sequences(head, mixer):
    spec = {
        "width": 16,
        "embed": {"use": "tokens", "vocab": 30},
        "schedule": [{"mixer": MIXERS[mixer], "channel": "mlp"}],
    }
    model = panformer.build({**spec, **({"head": HEADS[head]} if HEADS[head] else {})}, seed=0).double().eval()
    rng = torch.Generator().manual_seed(0)
    texts = [torch.randint(0, 30, (n,), generator=rng) for n in (5, 1, 31, 5, 12, 12, 2)]
    found = answers(model, texts, tokens=20)
    for text, got in zip(texts, found, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(got, model(text[None])[0], rtol=1e-9, atol=1e-9)


def test_nothing_in_nothing_out():
    assert answers(None, []) == []


def test_bad_batches():
    with pytest.raises(InputError, match="sequence 1 is empty"):
        answers(None, [torch.ones(2), torch.ones(0)])
    with pytest.raises(InputError, match="at least 1 token"):
        batches([3], 0)
