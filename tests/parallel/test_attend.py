"""Attention over real processes: what one process gives, in outputs and gradients, and as many bytes as in theory."""

import sys
from pathlib import Path

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.score import Causal, Same
from panformer.ops.attend import reference
from panformer.ops.kernels import attend_blocks
from panformer.parallel import Grid, Spread, launch
from panformer.parallel.grid import places
from panformer.parallel.model import _why_not

sys.path.insert(0, str(Path(__file__).parent))
import work  # by name, so that other processes find it

COUNT = 4


@pytest.fixture(scope="module")
def found():
    return launch(work.each, COUNT)


@pytest.mark.parametrize("score", work.SCORES)
@pytest.mark.parametrize("form", work.LAYOUTS)
def test_processes_give_what_one_gives(found, score, form):
    at = work.LAYOUTS[form]()
    args = [x.requires_grad_() for x in work.inputs(at)]
    out = reference(*args, work.SCORES[score](), at, at, 0.4)
    want = dict(zip("oqkv", (out.detach(), *torch.autograd.grad(out.sin().sum(), args)), strict=True))
    for way in work.WAYS:
        for part, x in want.items():
            got = found[f"{way}/{score}/{form}/{part}"]
            torch.testing.assert_close(got, x, rtol=1e-11, atol=1e-11, msg=f"{way} {part}")


def test_a_model_over_processes_is_the_model(found):
    net, x = work.model()
    y = net(x)
    y.sin().sum().backward()
    for way in work.WAYS:
        torch.testing.assert_close(found[f"{way}/model/y"], y.detach(), rtol=1e-11, atol=1e-11)
        for n, p in net.named_parameters():
            torch.testing.assert_close(found[f"{way}/model/{n}"], p.grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("way", "r", "u"), [("ring", 4, 1), ("zigzag", 4, 1), ("ulysses", 1, 4), ("usp", 2, 2)])
def test_bytes_are_those_of_theory(found, way, r, u):
    h, g, t, number = work.HEADS, work.GROUPS, 2 * work.LENGTH // COUNT, 8
    ring = g * (6 + 5) * t * number  # keys and values of one process
    row = (h * (6 + 5) + g * (6 + 5)) * t * number * (u - 1) // u
    forward, backward = (r - 1) * ring + row, (r - 1 + (r if r > 1 else 0)) * ring + row
    assert found[f"{way}/causal/dense/sent"].tolist() == [forward, backward]


def test_zigzag_gives_all_processes_as_much_work():
    at, size = Layout.dense(1, 256), 8

    def work_of(order, place, score):
        own = at.pick(places(256, 4, order, place))
        return sum(
            len(row)
            for other in range(4)
            for row in attend_blocks.tiles(score, own, at.pick(places(256, 4, order, other)), size)
        )

    causal = Same() & Causal()
    assert len({work_of("zigzag", i, causal) for i in range(4)}) == 1
    assert work_of("contiguous", 3, causal) > 5 * work_of("contiguous", 0, causal)
    assert {work_of("contiguous", i, Same()) for i in range(4)} == {256}


@pytest.mark.parametrize("order", ["contiguous", "zigzag"])
def test_every_token_has_one_place(order):
    assert torch.cat([places(48, 4, order, i) for i in range(4)]).sort().values.tolist() == list(range(48))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schedule": [{"mixer": {"use": "mamba", "state": 2}}]}, "mamba"),
        ({"schedule": [{"mixer": {"use": "attention", "heads": 2, "normaliser": "relu"}}]}, "weights of its own"),
        ({"head": {"use": "classify", "classes": 2}, "causal": False}, "all tokens at once"),
    ],
)
def test_a_model_that_looks_around_is_refused(change, says):
    assert says in _why_not(panformer.build({**work.SPEC, "position": None, **change}))


def test_a_grid_needs_processes():
    with pytest.raises(InputError, match=r"torch\.distributed job"):
        Grid()


def test_lengths_must_divide():
    class Four:
        heads, ring, count, rank = 1, 4, 4, 0

    with pytest.raises(InputError, match="8 pieces: pad"):
        Spread(Four(), Layout.dense(1, 20))
