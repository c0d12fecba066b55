"""Attention in blocks and in shares of work: the reference, in outputs and gradients, under any score and cut."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.autograd import gradcheck

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.score import FULL, NONE, Causal, HeadWindow, Prefix, Same, Slope, Window
from panformer.measure.cost import trace
from panformer.ops import backend
from panformer.ops.attend import attend, reference
from panformer.ops.kernels import attend_blocks
from panformer.ops.shares import attend_in_shares, shares, work

from .batches import LONGER

SLOPE = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)
SCORES = {
    "same": Same(),
    "causal": Same() & Causal(),
    "prefix": Same() & (Causal() | Prefix(3)),
    "window": Same() & Causal() & Window(5),
    "sloped": (Same() & Causal()) + Slope(SLOPE),
    "two-sided": Same() + Slope(SLOPE, two_sided=True),
    "head windows": (Same() & Causal()) + HeadWindow(torch.tensor([1, 2, 7, -1])),
    "documents mix": Causal() + Slope(SLOPE),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Blocks of eight tokens, for any length."""
    for name, value in {"SIZE": 8, "LEAST": 0, "MASKED": 0}.items():
        monkeypatch.setattr(attend_blocks, name, value)


def inputs(q_at, k_at, groups=2, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    shapes = (
        (q_at.batch, 4, q_at.length, 6),
        (k_at.batch, groups, k_at.length, 6),
        (k_at.batch, groups, k_at.length, 5),
    )
    return [torch.randn(s, generator=rng, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]


def close(a, b, within=1e-12):
    torch.testing.assert_close(a, b, rtol=within, atol=within)


@pytest.mark.parametrize(
    ("score", "form", "groups", "cap"), list(itertools.product(SCORES, LONGER, [1, 4], [None, 0.5]))
)
def test_blocks_are_the_reference(score, form, groups, cap):
    at = LONGER[form]
    at = Layout(at.seg, at.pos, full=at.full)
    args = inputs(at, at, groups)
    rest = (SCORES[score], at, at, 0.4, 0.0, cap)
    want, got = reference(*args, *rest), attend_blocks.run(*args, *rest)
    close(got, want)
    for a, b in zip(torch.autograd.grad(want.sin().sum(), args), torch.autograd.grad(got.sin().sum(), args)):
        close(b, a, 1e-11)


@pytest.mark.parametrize("position", ["t5", "fire", "kerple"])
def test_what_a_score_learns_gets_its_gradient(position):
    torch.manual_seed(0)
    part = config("positions", position).build(4, 6).double()
    at = Layout.dense(2, 29)
    args = inputs(at, at)
    grads = []
    for run in ("reference", "blocks"):
        with backend.only(run, attend):
            out = attend(*args, (Same() & Causal()) + part.bias(), at, at, 0.4)
        grads.append(torch.autograd.grad(out.sin().sum(), (*args, *part.parameters())))
    for a, b in zip(*grads, strict=True):
        assert a.abs().max() > 0
        close(b, a, 1e-10)


def test_queries_elsewhere_than_keys_and_rows_that_see_nothing():
    keys, queries = Layout.padded([17, 9], 17), Layout(torch.tensor([[0, -1], [0, 0]]), torch.tensor([[[16], [0]]] * 2))
    args = inputs(queries, keys)
    rest = (Same() & Causal(), queries, keys, 0.4)
    got = attend_blocks.run(*args, *rest)
    close(got, reference(*args, *rest))
    assert (got[0, :, 1] == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(got.sum(), args))


def test_gradcheck():
    at = Layout.dense(1, 11)
    assert gradcheck(lambda *x: attend_blocks.run(*x, SCORES["sloped"], at, at, 0.4, 0.0, 0.7), inputs(at, at))


@pytest.mark.parametrize("score", ["causal", "sloped"])
def test_half_precision_is_no_worse_than_twice_the_reference(score):
    at = Layout.dense(2, 61)
    exact, half = inputs(at, at), inputs(at, at, dtype=torch.bfloat16)
    rest = (SCORES[score], at, at, 0.4)
    want = reference(*exact, *rest)
    ours, theirs = (f(*half, *rest) for f in (attend_blocks.run, reference))
    assert ours.dtype == torch.bfloat16
    assert (ours - want).abs().max() <= 2 * (theirs - want).abs().max()


def test_empty_blocks_are_skipped_and_whole_ones_unmasked():
    at = Layout.dense(1, 64)
    rows = attend_blocks.tiles(Same() & Causal(), at, at, 8)
    assert [len(row) for row in rows] == list(range(1, 9))
    assert [[tile.whole for tile in row] for row in rows][3] == [True, True, True, False]
    packed = Layout.packed([16, 48])
    kinds = (Same()).blocks(packed, packed, 8)
    assert sum(len(row) for row in attend_blocks.tiles(Same(), packed, packed, 8)) == int((kinds != NONE).sum()) == 40
    assert (kinds[kinds != NONE] == FULL).all()


def test_memory_for_the_backward_pass_is_linear(monkeypatch):
    monkeypatch.setattr(attend_blocks, "SIZE", 32)

    def saved(n, run):
        at = Layout.dense(1, n)
        with backend.only(run, attend):
            return trace(lambda *x: attend(*x, SCORES["sloped"], at, at, 0.4), *inputs(at, at)).saved

    assert saved(512, "blocks") == 4 * saved(128, "blocks")
    assert saved(512, "reference") > 12 * saved(128, "reference")


def test_it_says_why_it_refuses(monkeypatch):
    monkeypatch.setattr(attend_blocks, "LEAST", 1 << 20)
    monkeypatch.setattr(attend_blocks, "MASKED", 1 << 22)
    at, lattice = Layout.dense(1, 64), Layout.lattice(1, (8, 8))
    args = inputs(at, at)

    class Hidden(Slope):
        def value(self, q, k):
            return HIDDEN * super().value(q, k)

    for call, told in (
        ((SCORES["causal"], at, at, 1.0), "needs no dense score"),
        ((SCORES["sloped"], at, at, 1.0), "quicker under 1048576"),
        ((SCORES["prefix"], at, at, 1.0), "quicker under 4194304"),
        ((SCORES["sloped"], at, at, 1.0, 0.5), "dropped at random"),
        ((Same(), lattice, lattice, 1.0), "one coordinate"),
    ):
        assert told in attend.why(*args, *call)["blocks"]
    monkeypatch.setattr(attend_blocks, "LEAST", 0)
    HIDDEN = torch.ones((), requires_grad=True)
    assert "cannot be found" in attend.why(*args, Same() + Hidden(SLOPE), at, at, 1.0)["blocks"]
    assert attend.why(*args, SCORES["sloped"], at, at, 1.0)["blocks"] is None


# ---- equal shares


@pytest.mark.parametrize(("workers", "groups", "score"), list(itertools.product([1, 3, 7, 100], [1, 2], SCORES)))
def test_any_number_of_workers_gives_the_same_answer(workers, groups, score):
    keys = Layout.padded([50, 9, 31], 50)
    queries = Layout(torch.zeros(3, 1, dtype=torch.int64), torch.tensor([[[49]], [[8]], [[30]]]))
    args = inputs(queries, keys, groups)
    rest = (SCORES[score], queries, keys, 0.4)
    want, got = reference(*args, *rest), attend_in_shares(*args, *rest, workers, size=8)
    close(got, want)
    for a, b in zip(torch.autograd.grad(want.sin().sum(), args), torch.autograd.grad(got.sin().sum(), args)):
        close(b, a, 1e-11)


def test_threads_give_the_same_answer_without_a_graph():
    at = Layout.dense(2, 40)
    args = inputs(at, at)
    with torch.no_grad(), ThreadPoolExecutor(2) as pool:
        got = attend_in_shares(*args, SCORES["sloped"], at, at, 0.4, 3, size=8, run=pool.map)
    close(got, reference(*args, SCORES["sloped"], at, at, 0.4).detach())
    assert not got.requires_grad


def test_shares_differ_by_at_most_one_tile_and_cover_the_work():
    tiles = work([100, 7, 33], 3, 8)
    assert sum(t.stop - t.start for t in tiles) == 3 * 140
    for workers in (1, 4, 13, 200):
        cut = shares(tiles, workers)
        assert [t for share in cut for t in share] == tiles and len(cut) == workers
        assert max(map(len, cut)) - min(map(len, cut)) <= 1
    with pytest.raises(Exception, match="at least 1 worker"):
        shares(tiles, 0)
