"""The delta rule: blocks equal the loop in every batch form, the loop the formula, and streams equal the whole."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.delta_rule import delta_rule, reference, traced
from panformer.ops.kernels import delta_rule_blocks
from panformer.ops.linear_attention import linear_attention

from .batches import BATCHES, MIXED

HEADS, SIZE, VALUE = 2, 3, 4
LAYOUTS = BATCHES


@pytest.fixture(params=[4, 3, 64, 1], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(delta_rule_blocks, "SIZE", request.param)


def _inputs(at, decay, seed=0):
    """Keys of length 1, as the rule wants them; the second head forgets almost all from token to token."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(at.batch, HEADS, at.length, *shape, generator=rng, dtype=torch.float64)

    q, k, v, b = draw(SIZE), torch.nn.functional.normalize(draw(SIZE), dim=-1), draw(VALUE), 2 * draw().sigmoid()
    fall = -draw().exp() * torch.tensor([0.3, 90.0])[:, None] if decay else None
    return [q, k, v, b] + ([fall] if decay else [])


def _run(run, leaves, at, s=None):
    q, k, v, b, *rest = leaves
    return run(q, k, v, b, rest[0] if rest else None, at, s)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("decay", [False, True])
def test_blocks_are_the_loop(name, decay):
    at, results = LAYOUTS[name], []
    for backend in ("reference", "blocks"):
        leaves = [z.requires_grad_() for z in _inputs(at, decay)]
        with only(backend, delta_rule):
            y, s = _run(delta_rule, leaves, at)
        y = at.clean(y.transpose(1, 2))
        results.append([y, s, *torch.autograd.grad(y.sin().sum() + s.cos().sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_loop_is_the_formula():
    """With the matrix S as it is written: values by keys."""
    at = Layout.dense(1, 7)
    q, k, v, b, fall = (z[0, 0] for z in _inputs(at, True))
    s, eye = torch.zeros(VALUE, SIZE, dtype=torch.float64), torch.eye(SIZE, dtype=torch.float64)
    y, last = reference(*(z[None, None] for z in (q, k, v, b, fall)), at, None)
    for t in range(7):
        s = fall[t].exp() * s @ (eye - b[t] * torch.outer(k[t], k[t])) + b[t] * torch.outer(v[t], k[t])
        torch.testing.assert_close(y[0, 0, t], s @ q[t])
    torch.testing.assert_close(last[0, 0], s.mT)


def test_is_transformers():
    public = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next", reason="no transformers")
    at = Layout.dense(2, 150)
    q, k, v, b, fall = _inputs(at, True)
    y, s = delta_rule(q, k, v, b, fall, at, None)
    theirs = [x.transpose(1, 2).contiguous() for x in (q, k, v, fall, b)]
    for run in (public.torch_chunk_gated_delta_rule, public.torch_recurrent_gated_delta_rule):
        want, last = run(*theirs, output_final_state=True)
        torch.testing.assert_close(y.transpose(1, 2) * SIZE**-0.5, want, rtol=0, atol=1e-4)  # the peer sums in float32
        torch.testing.assert_close(s, last.double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("widths", [(10,), (1,) * 10, (3, 5, 2)])
def test_stream_is_whole(decay, widths):
    at = Layout.dense(2, 10)
    leaves = _inputs(at, decay)
    whole, last = _run(reference, leaves, at)
    s, outs, i = torch.zeros(2, HEADS, SIZE, VALUE, dtype=torch.float64), [], 0
    for w in widths:
        y, s = _run(delta_rule, [z[:, :, i : i + w] for z in leaves], at.span(i, i + w), s)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 2), whole)
    torch.testing.assert_close(s, last)


@pytest.mark.parametrize("decay", [False, True])
def test_ragged_chunk_blocks_are_the_loop(decay):
    """Padding anywhere, a row without a token, and a state from before."""
    seg = torch.tensor([[0, -1, 0, 0, -1, 0, 0, 0, 0], [-1] * 9, [-1, -1, -1, -1, 0, 0, 0, -1, -1]])
    at, results = Layout(seg, torch.zeros(3, 9, 1, dtype=torch.int64)), []
    state = torch.randn(3, HEADS, SIZE, VALUE, dtype=torch.float64).requires_grad_()
    leaves = [z.requires_grad_() for z in _inputs(at, decay)]
    for run in (reference, delta_rule):
        y, s = _run(run, leaves, at, state)
        y = at.clean(y.transpose(1, 2))
        results.append([y, s, *torch.autograd.grad(y.sin().sum() + s.cos().sum(), [*leaves, state])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(results[1][1][1], state[1])  # nothing new: nothing changed


def test_gradients_twice_and_none_across_documents():
    at = MIXED
    leaves = [z.requires_grad_() for z in _inputs(at, True)]

    def run(*z):
        return at.clean(_run(delta_rule, z, at)[0].transpose(1, 2))

    assert gradcheck(run, leaves, fast_mode=True)
    assert gradgradcheck(run, leaves, fast_mode=True)
    second = run(*leaves)[0, 2:6].square().sum()
    for g in torch.autograd.grad(second, leaves[1:]):
        assert (g[0, :, :2] == 0).all() and (g[0, :, 6:] == 0).all() and (g[1] == 0).all()


def test_orthogonal_keys_are_added_and_a_repeated_key_is_overwritten():
    at, eye = Layout.dense(1, 3), torch.eye(3, dtype=torch.float64)[None, None]
    v, ones = torch.randn(1, 1, 3, VALUE, dtype=torch.float64), torch.ones(1, 1, 3, dtype=torch.float64)
    y, _ = delta_rule(eye, eye, v, ones, None, at, None)
    torch.testing.assert_close(y, linear_attention(eye, eye, v, at, True, None))
    same = eye[:, :, :1].expand(-1, -1, 3, -1)
    torch.testing.assert_close(delta_rule(same, same, v, ones, None, at, None)[0], v)


def test_traced_is_the_reference():
    at = MIXED
    for one, other in zip(_run(reference, _inputs(at, True), at), _run(traced, _inputs(at, True), at), strict=True):
        torch.testing.assert_close(one, other)


def test_autocast_leaves_the_state_alone():
    """Rounded to bfloat16 after every block it would forget what is small beside it."""
    at = Layout.dense(1, 200)
    leaves = [z.float() for z in _inputs(at, False)]
    want = _run(delta_rule, leaves, at)
    with torch.autocast("cpu", torch.bfloat16):
        found = _run(delta_rule, leaves, at)
    for one, other in zip(want, found, strict=True):
        torch.testing.assert_close(one, other)


def test_small_systems_are_inverted_by_halves():
    """Where keys are alike powers of the system reach 1e18; substitution, and so halves of it, loses nothing."""
    for size in (1, 3, 8, 12, 32, 64):
        a = torch.ones(2, 3, size, size, dtype=torch.float64)  # what stands on and above the diagonal is not read
        want = torch.eye(size, dtype=torch.float64) - torch.eye(size, dtype=torch.float64).roll(1, 0).tril(-1)
        torch.testing.assert_close(delta_rule_blocks._inverse(a), want.expand_as(a), rtol=0, atol=1e-14)
        assert gradcheck(delta_rule_blocks._Inverse.apply, a.mul(0.1).requires_grad_(), fast_mode=True)
