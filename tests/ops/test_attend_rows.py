"""Attention over rows of gathered keys: the reference, in outputs and gradients, under every pattern and layout."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.score import Causal, Same, Slope, Window
from panformer.measure.cost import growth, trace
from panformer.ops import backend
from panformer.ops.attend import attend, reference
from panformer.ops.kernels import attend_rows

HEADS = 4
PATTERNS = [
    {"use": "strided"}, {"use": "strided", "stride": 4, "merged": True}, {"use": "fixed", "marks": 2},
    {"use": "fixed", "stride": 5, "merged": True}, {"use": "axial", "row": 4}, {"use": "first", "window": 3, "tokens": 2},
    {"use": "drawn", "block": 3, "count": 2}, {"use": "dilated", "segments": [4, 12], "rates": [1, 3]},
]  # fmt: skip
LAYOUTS = {
    "dense": Layout.dense(2, 37),
    "packed": Layout.packed([23, 1, 40]),
    "right": Layout.padded([5, 20, 1]),
    "left": Layout.padded([5, 20, 1], side="left"),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(attend_rows, "LEAST", 0)
    monkeypatch.setattr(attend_rows, "ROOM", 500)


def inputs(at, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(at.batch, h, at.length, 6, generator=rng, dtype=dtype).requires_grad_() for h in (HEADS, 2, 2)]


def score(tree, causal=True):
    return (Same() & Causal() if causal else Same()) + config("patterns", tree).build(HEADS).score


@pytest.mark.parametrize("tree", PATTERNS, ids=str)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_are_the_reference(tree, causal, name):
    at, slope = LAYOUTS[name], torch.tensor([0.5, 0.2, 0.1, 0.3], dtype=torch.float64).requires_grad_()
    term = score(tree, causal) + Slope(slope, two_sided=True)
    results = []
    for run in (reference, attend_rows.run):
        leaves = inputs(at)
        y = at.clean(run(*leaves, term, at, at, 0.3, 0.0, 2.0).transpose(1, 2))
        results.append([y, *torch.autograd.grad(y.sin().sum(), [*leaves, slope])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_it_serves_the_calls_it_is_made_for():
    at = Layout.dense(1, 40)
    with backend.record() as used:
        attend(*inputs(at), score({"use": "strided"}), at, at, 0.3)
    assert used == {"attend:rows": 1}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"score": Same() & Causal()}, "pattern"),
        ({"dropout": 0.1}, "dropped"),
        ({"k_at": Layout.dense(1, 40)}, "different places"),
        ({"at": Layout.dense(1, 40, 3)}, "from 0"),
        ({"score": (Same() & Window(3)) + config("patterns", "strided").build(HEADS).score}, "mask"),
        ({"score": Causal() + config("patterns", "strided").build(HEADS).score}, "mix"),
    ],
)
def test_it_says_what_it_refuses(change, says):
    at = change.get("at", Layout.dense(1, 40))
    call = (*inputs(at), change.get("score", score({"use": "strided"})), at, change.get("k_at", at), 0.3)
    assert says in attend_rows.refuses(*call, change.get("dropout", 0.0))


@pytest.mark.parametrize(
    ("tree", "low", "high"), [("strided", 1.3, 1.6), ("fixed", 1.3, 1.6), (PATTERNS[5], 0.9, 1.03)]
)
def test_no_dense_matrix_is_made(tree, low, high, monkeypatch):
    """Peak and saved bytes, and operations, grow as the pairs do or less."""
    monkeypatch.setattr(attend_rows, "ROOM", 1 << 16)

    def cost(n):
        at = Layout.dense(1, n)
        tree_ = {"use": tree} if isinstance(tree, str) else tree
        return trace(lambda q, k, v: attend_rows.run(q, k, v, score(tree_), at, at, 0.3), *inputs(at, torch.float32))

    found = {n: cost(n) for n in (256, 1024, 4096)}
    assert low < growth({n: c.flops for n, c in found.items()}) < high
    assert growth({n: c.saved for n, c in found.items()}) < 1.03
    assert found[4096].peak < HEADS * 4096**2 / 4  # bytes; the scores alone would be 16 times that
