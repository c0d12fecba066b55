"""Any weights in place of softmax: blocks equal the formula in outputs and gradients, under any score and layout."""

import itertools

import pytest
import torch
from torch.autograd import gradcheck

from panformer.core.layout import Layout
from panformer.core.part import config, find, known
from panformer.core.score import Causal, Prefix, Same, Slope, Window
from panformer.measure.cost import trace
from panformer.ops.attend import attend
from panformer.ops.backend import only
from panformer.ops.kernels import attend_blocks
from panformer.ops.weigh import reference, softmax, weigh

from .batches import LONGER

SLOPE = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)
SCORES = {
    "same": Same(),
    "causal": Same() & Causal(),
    "prefix": Same() & (Causal() | Prefix(3)),
    "window": Same() & Causal() & Window(4),
    "two-sided window": Same() & Window(3),
    "sloped": (Same() & Causal()) + Slope(SLOPE),
    "documents mix": Causal() + Slope(SLOPE),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Blocks of eight tokens, for any length."""
    for name, value in {"SIZE": 8, "MASKED": 0}.items():
        monkeypatch.setattr(attend_blocks, name, value)


def inputs(at):
    rng = torch.Generator().manual_seed(0)
    shapes = ((4, at.length, 6), (2, at.length, 6), (2, at.length, 5))
    return [torch.randn(at.batch, *s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes]


def plain(score, keep, seen):
    return softmax(score, keep)


@pytest.mark.parametrize(("score", "layout"), itertools.product(SCORES, LONGER))
@pytest.mark.parametrize("use", known("normalisers"))
def test_kernels_are_the_formula(use, score, layout):
    options = find("normalisers", use).examples[0]
    at, part = LONGER[layout], config("normalisers", {"use": use, **options}).build(4).double()
    for kernel in weigh.kernels:
        leaves = inputs(at)
        args = (*leaves, SCORES[score], at, at, 0.4, part, 0.0, 2.0)
        if kernel.refuses(*args):
            continue
        sides = []
        for run in (reference, kernel.run):
            y = at.clean(run(*args).transpose(1, 2))
            learned = [*leaves, *part.parameters()]
            sides.append([y, *torch.autograd.grad(y.sin().sum(), learned)])
        for one, other in zip(*sides, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layout", LONGER)
@pytest.mark.parametrize("score", SCORES)
def test_softmax_weights_are_attention(score, layout):
    at = LONGER[layout]
    args = (*inputs(at), SCORES[score], at, at, 0.4)
    torch.testing.assert_close(weigh(*args, plain), attend(*args), rtol=1e-10, atol=1e-12)


def test_keys_are_counted_by_the_score_and_a_query_without_any_gives_nothing():
    """The number that a query is told is that of the keys it may see: 2 in a window, fewer at a document's start."""
    at, found = Layout(torch.tensor([[-1, 0, 0, 0, 1]]), torch.tensor([[0, 0, 1, 2, 0]])[..., None]), []

    def count(score, keep, seen):
        found.append(seen)
        return torch.ones_like(score)

    ones = torch.ones(1, 4, 5, 3, dtype=torch.float64)
    with only("reference"):
        y = weigh(ones, ones[:, :2], ones[:, :2], Same() & Causal() & Window(2), at, at, 1.0, count)
    assert found[0].flatten().tolist() == [1, 1, 2, 2, 1]
    assert y[0, 0, :, 0].tolist() == [0, 1, 2, 2, 1]


def test_gradients_are_right_in_blocks():
    at, part = LONGER["right"], config("normalisers", "standardised").build(4).double()

    def run(*z):
        with only("rows", weigh):
            return at.clean(weigh(*z, SCORES["sloped"], at, at, 0.4, part).transpose(1, 2))

    assert gradcheck(run, inputs(at), fast_mode=True)


def test_no_dense_matrix_is_kept(monkeypatch):
    """Twice the length keeps twice the memory for the backward pass, where one matrix of weights would be four times."""
    monkeypatch.setattr(attend_blocks, "SIZE", 64)
    m = config("mixers", {"use": "attention", "heads": 2, "causal": True, "normaliser": "sigmoid"}).build(8)
    saved = [trace(lambda x, n=n: m(x, Layout.dense(1, n)), torch.zeros(1, n, 8)).saved for n in (512, 1024)]
    assert 1.9 < saved[1] / saved[0] < 2.1
