"""Attention within a window by strips of queries: the reference, in outputs and gradients."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.score import Causal, Prefix, Same, Slope, Window
from panformer.ops import backend
from panformer.ops.attend import attend, reference
from panformer.ops.kernels import attend_strips

LAYOUTS = {
    "dense": Layout.dense(2, 29, start=3),
    "packed": Layout.packed([23, 2, 21]),
    "right": Layout.padded([26, 3, 20]),
    "left": Layout.padded([26, 3, 20], side="left"),
}
NEAR = Same() & Causal() & Window(6)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"STRIP": 4, "EVEN": 3}.items():
        monkeypatch.setattr(attend_strips, name, value)


def inputs(at, groups=2, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    shapes = [(at.batch, n, at.length, e) for n, e in ((4, 6), (groups, 6), (groups, 5))]
    return [torch.randn(s, generator=rng, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def compare(score, at, groups):
    args = inputs(at, groups)
    assert attend_strips.refuses(*args, score, at, at, 0.4) is None
    results = []
    for run in (reference, attend_strips.run):
        y = at.clean(run(*args, score, at, at, 0.4).transpose(1, 2))
        results.append([y, *torch.autograd.grad(y.sin().sum(), args)])
    for want, got in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("room", [1, 200, 1 << 19])
def test_strips_are_the_reference(form, groups, room, monkeypatch):
    monkeypatch.setattr(attend_strips, "ROOM", room)
    compare(NEAR, LAYOUTS[form], groups)


@pytest.mark.parametrize("size", [1, 3, 4, 7, 28])
def test_windows_of_any_size_on_one_side_and_both(size):
    compare(Same() & Causal() & Window(size), LAYOUTS["dense"], 4)
    compare(Same() & Window(size), LAYOUTS["dense"], 4)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"score": Same() & Causal()}, "no window"),
        ({"score": NEAR + Slope(torch.ones(4))}, "documents"),
        ({"score": Causal() & Window(6)}, "documents"),
        ({"score": Same() & (Causal() | Prefix(2)) & Window(6)}, "documents"),
        ({"score": Same() & Window(6), "at": LAYOUTS["right"]}, "padding"),
        ({"at": Layout.dense(1, 15)}, "dense call"),
        ({"at": Layout.dense(1, 40).pick(torch.arange(0, 40, 2))}, "count"),
        ({"dropout": 0.1}, "dropped"),
        ({"cap": 5.0}, "capped"),
    ],
)
def test_it_says_what_it_refuses(change, says):
    at = change.get("at", LAYOUTS["dense"])
    call = (*inputs(at), change.get("score", NEAR), at, at, 0.4, change.get("dropout", 0.0), change.get("cap"))
    assert says in attend_strips.refuses(*call)


def test_bf16_errs_no_more_than_the_reference_twice():
    at = Layout.dense(1, 60)
    half = inputs(at, dtype=torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in half]
    answers = []
    for run, args in ((reference, exact), (reference, half), (attend_strips.run, half)):
        y = run(*args, NEAR, at, at, 0.4)
        answers.append([y, *torch.autograd.grad(y.double().sin().sum(), args)])
    for want, slow, got in zip(*answers, strict=True):
        assert (got - want).norm() <= 2 * (slow - want).norm() + 1e-3 * want.norm()


def test_a_window_is_served_by_strips():
    at = LAYOUTS["dense"]
    with backend.record() as used:
        attend(*inputs(at), NEAR, at, at, 0.4)
    assert used == {"attend:strips": 1}
