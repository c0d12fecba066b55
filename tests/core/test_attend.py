"""Attention over any score: the reference against the formula, every kernel against the reference."""

import itertools
import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.score import Causal, HeadWindow, Prefix, Same, Slope, Window
from panformer.ops import backend
from panformer.ops.attend import attend, merge_heads, reference, split_heads, spread
from panformer.ops.online_softmax import finish, merge, part, unit

SLOPE = torch.tensor([0.5, 0.25, 0.1, 0.05], dtype=torch.float64)
SCORES = {
    "same": Same(),
    "causal": Same() & Causal(),
    "causal first": Causal() & Same(),
    "window": Same() & Causal() & Window(5),
    "two-sided window": Same() & Window(3),
    "prefix": Same() & (Causal() | Prefix(3)),
    "alibi": Same() & Causal() & Window(6) | Same() & Prefix(1),
    "sloped": (Same() & Causal()) + Slope(SLOPE),
    "sloped window": (Same() & Causal() & Window(5)) + Slope(SLOPE),
    "head windows": (Same() & Causal()) + HeadWindow(torch.tensor([1, 2, 7, -1])),
    "no causal mask": Same() + Slope(SLOPE, two_sided=True),
    "documents mix": Causal(),
    "documents mix in a window": Causal() & Window(5),
    "all": Window(1000),
}
LAYOUTS = {
    "dense": lambda: Layout.dense(2, 29),
    "later": lambda: Layout.dense(2, 29, start=11),
    "packed": lambda: Layout.packed([23, 2, 21]),
    "sorted": lambda: Layout.packed([11, 11, 9, 9, 9]),
    "right": lambda: Layout.padded([26, 3, 20]),
    "left": lambda: Layout.padded([26, 3, 20], side="left"),
    "lattice": lambda: Layout.lattice(2, (4, 6)),
    "one token": lambda: Layout.dense(1, 1),
}


def inputs(q_at: Layout, k_at: Layout, groups: int = 2, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    shapes = (
        (q_at.batch, 4, q_at.length, 6),
        (k_at.batch, groups, k_at.length, 6),
        (k_at.batch, groups, k_at.length, 5),
    )
    return tuple(torch.randn(s, generator=rng, dtype=torch.float64, requires_grad=True) for s in shapes)


def test_the_reference_is_the_formula():
    at = Layout.dense(1, 5)
    q, k, v = inputs(at, at)
    out = reference(q, k, v, Same() & Causal(), at, at, 0.3)
    for h, t in itertools.product(range(4), range(5)):
        logits = torch.stack([0.3 * q[0, h, t] @ k[0, h // 2, s] for s in range(t + 1)])
        want = sum(w * v[0, h // 2, s] for s, w in enumerate(logits.softmax(0)))
        torch.testing.assert_close(out[0, h, t], want, rtol=1e-12, atol=1e-12)


def test_a_query_that_sees_nothing_gives_zero_and_finite_gradients():
    at = Layout.padded([3, 1], 4)
    for run in (reference, attend):
        q, k, v = inputs(at, at)
        out = run(q, k, v, Same() & Causal(), at, at, 1.0)
        assert (out.transpose(1, 2)[~at.valid] == 0).all()
        for g in torch.autograd.grad(out.sum(), (q, k, v)):
            assert g.isfinite().all()


@pytest.mark.parametrize(("score", "form", "groups"), list(itertools.product(SCORES, LAYOUTS, [1, 4])))
def test_every_kernel_equals_the_reference(score, form, groups):
    at = LAYOUTS[form]()
    args = inputs(at, at, groups)
    call = (SCORES[score], at, at, 0.4)
    try:
        reference(*args, *call)
    except InputError as refusal:  # such as an order in time on a lattice: no kernel may answer that
        for kernel in attend.kernels:
            if kernel.refuses(*args, *call) is None:
                with pytest.raises(InputError, match=str(refusal)):
                    kernel.run(*args, *call)
        return
    want = reference(*args, *call)[at.valid[:, None].expand(at.batch, 4, at.length)]
    slopes = torch.autograd.grad(want.sin().sum(), args)
    for kernel in attend.kernels:
        if kernel.refuses(*args, *call) is not None:
            continue
        got = kernel.run(*args, *call)
        assert got.isfinite().all(), f"{kernel.name} is not finite"
        got = got[at.valid[:, None].expand(at.batch, 4, at.length)]
        apart = (want - got).abs().max().item()
        assert apart < 1e-12, f"{kernel.name} differs by {apart:.1e} on {score}, {form}, {groups} groups"
        for a, b in zip(slopes, torch.autograd.grad(got.sin().sum(), args)):
            apart = (a - b).abs().max().item()
            assert apart < 1e-11, f"gradients of {kernel.name} differ by {apart:.1e} on {score}, {form}"


@pytest.mark.parametrize("score", SCORES)
def test_queries_elsewhere_than_keys(score):
    """As in streaming: new queries over all keys so far, some of them padding."""
    keys = Layout.padded([17, 9], 17)
    queries = Layout(torch.tensor([[0, 0, -1], [0, 0, 0]]), torch.tensor([[[15], [16], [0]], [[6], [7], [8]]]))
    args = inputs(queries, keys)
    call = (SCORES[score], queries, keys, 0.4)
    want, got = reference(*args, *call), attend(*args, *call)
    real = queries.valid[:, None].expand(2, 4, 3)
    torch.testing.assert_close(got[real], want[real], rtol=1e-12, atol=1e-12)


def test_the_window_kernel_is_linear_in_length():
    """It takes long windows' calls, and says in words why it refuses the others."""
    at, other = Layout.dense(1, 64), Layout.dense(1, 64)
    q, k, v = inputs(at, at)
    window = Same() & Causal() & Window(8)
    assert attend.why(q, k, v, window, at, at, 1.0)["window"] is None
    for score, q_at, told in (
        (Same() & Causal(), at, "no window"),
        (window, other, "different places"),
        (Same() & Causal() & Window(60), at, "dense mask is cheaper"),
    ):
        assert told in attend.why(q, k, v, score, q_at, at, 1.0)["window"]


def test_packed_rows_run_in_blocks_of_equal_length():
    """It takes packed calls alone, and no dense mask is made for them."""
    at, dense = Layout.packed([30, 30, 20]), Layout.dense(1, 80)
    q, k, v = inputs(at, at)
    with backend.record() as used:
        attend(q, k, v, Same() & Causal(), at, at, 1.0)
    assert used == {"attend:groups": 1}
    assert "not one packed row" in attend.why(q, k, v, Same(), dense, dense, 1.0)["groups"]
    tiny = Layout.packed([2, 3] * 16)
    assert "under 8 tokens" in attend.why(q, k, v, Same(), tiny, tiny, 1.0)["groups"]


def test_what_ran_is_recorded_and_can_be_pinned():
    at = Layout.dense(1, 40)
    args = (*inputs(at, at), Same() & Window(4), at, at, 1.0)
    with backend.record() as used:
        attend(*args)
        with backend.only("sdpa", attend):
            attend(*args)
        with backend.only("reference"):
            attend(*args)
    assert used == {"attend:window": 1, "attend:sdpa": 1, "attend:reference": 1}
    with backend.only("window", attend), pytest.raises(RuntimeError, match="window refuses: the score has no window"):
        attend(*args[:3], Same(), at, at, 1.0)
    with pytest.raises(InputError, match="unknown kernel of attend 'windw'; did you mean 'window'"):
        backend.only("windw", attend).__enter__()


def test_dropout_keeps_the_mean_and_drops_weights():
    at = Layout.dense(64, 8)
    q, k, v = (x.detach() for x in inputs(at, at))
    want = reference(q, k, torch.ones_like(v), Same(), at, at, 1.0)
    for run in (reference, attend):
        torch.manual_seed(0)
        got = run(q, k, torch.ones_like(v), Same(), at, at, 1.0, 0.25)
        assert got.std() > 0.05
        assert abs(got.mean() - want.mean()) < 4 * got.std() / math.sqrt(got[..., 0].numel())


def test_heads_split_and_merge_back():
    x = torch.randn(2, 3, 8)
    assert split_heads(x, 4).shape == (2, 4, 3, 2)
    assert torch.equal(merge_heads(split_heads(x, 4)), x)
    k = torch.randn(1, 2, 3, 4)
    assert torch.equal(spread(k, 6)[:, 4], k[:, 1])


# ---- online softmax


def pieces(sizes: tuple[int, ...], masked: slice | None = None):
    rng = torch.Generator().manual_seed(1)
    n = sum(sizes)
    score = 30 * torch.randn(2, 3, n, generator=rng, dtype=torch.float64)
    if masked is not None:
        score[:, 1, masked] = -torch.inf
    v = torch.randn(2, n, 4, generator=rng, dtype=torch.float64)
    parts = [part(s, w) for s, w in zip(score.split(sizes, -1), v.split(sizes, -2))]
    return score.softmax(-1) @ v, parts


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("masked", [None, slice(0, 5), slice(3, 9)], ids=["open", "first masked", "some masked"])
def test_pieces_merge_to_softmax_in_any_grouping_and_order(masked):
    want, (a, b, c) = pieces((5, 1, 6), masked)
    for joined in (merge(merge(a, b), c), merge(a, merge(b, c)), merge(c, merge(a, b)), merge(merge(b, c), a)):
        close(finish(joined), want)


def test_the_unit_changes_nothing_and_gives_zero():
    _, (a, _) = pieces((4, 4))
    for joined in (merge(unit(a), a), merge(a, unit(a))):
        for x, y in zip(joined, a):
            close(x, y)
    assert (finish(unit(a)) == 0).all()
    assert (finish(part(torch.full((1, 2, 3), -torch.inf), torch.randn(1, 3, 4))) == 0).all()


def test_huge_scores_do_not_overflow():
    score = torch.tensor([[[1e4, -1e4], [-1e4, -1e4]]], dtype=torch.float64, requires_grad=True)
    v = torch.randn(1, 2, 3, dtype=torch.float64)
    out = finish(part(score, v))
    close(out, score.softmax(-1) @ v)
    assert torch.autograd.grad(out.sum(), score)[0].isfinite().all()


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("window", [None, 12, 13, 40])
def test_one_more_token_of_full_rows_needs_no_mask(groups, window):
    past, last = Layout.dense(2, 12), Layout.dense(2, 1, start=12)
    score = Same() & Causal() if window is None else Same() & Causal() & Window(window)
    there = Layout(past.seg, past.pos, full=True).then(last)
    q, k, v = inputs(last, there, groups)
    with backend.record() as used:
        out = attend(q, k, v, score, last, there, 0.3)
    assert list(used) == ["attend:sdpa" if window == 12 else "attend:step"]
    torch.testing.assert_close(out, reference(q, k, v, score, last, there, 0.3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "there",
    [
        Layout.dense(2, 13),  # full, but not known to end with that token
        Layout.padded([12, 5]).then(Layout.dense(2, 1, start=12)),
    ],
)
def test_a_step_that_may_need_a_mask_is_refused(there):
    last = Layout.dense(2, 1, start=4)
    q, k, v = inputs(last, there)
    assert attend.why(q, k, v, Same() & Causal(), last, there, 0.3)["step"] is not None
    want = reference(q, k, v, Same() & Causal(), last, there, 0.3)
    torch.testing.assert_close(attend(q, k, v, Same() & Causal(), last, there, 0.3), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_a_window_is_that_of_local_attention(causal):
    public = pytest.importorskip("local_attention", reason="local-attention is not installed")
    theirs = public.LocalAttention(4, causal=causal, exact_windowsize=True, use_rotary_pos_emb=False)
    q, k, v = torch.randn(3, 2, 3, 20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    score, at = Same() & Window(5), Layout.dense(2, 20)  # their 4 are those before the token itself
    ours = attend(q, k, v, score & Causal() if causal else score, at, at, 5**-0.5)
    torch.testing.assert_close(ours, theirs(q, k, v))
