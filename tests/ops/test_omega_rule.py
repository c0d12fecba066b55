"""The Omega rule: chunks equal the loop in every batch form, the loop the formula by autograd, streams the whole."""

import pytest
import torch
from torch.autograd import grad, gradcheck

from panformer.core.layout import Layout
from panformer.ops.backend import only
from panformer.ops.delta_rule import delta_rule
from panformer.ops.newton_schulz import orthogonal
from panformer.ops.omega_memory import Memory, nothing
from panformer.ops.omega_rule import omega_rule, reference, traced

from .batches import BATCHES, MIXED

HEADS, SIZE, VALUE = 2, 3, 4
LAYOUTS = {**BATCHES, "later": Layout.dense(2, 10, start=5)}
GATES = {"plain": (), "fall": (0,), "momentum": (1, 2), "all": (0, 1, 2)}  # which of fall, push, rate are given


def _inputs(at, gates, seed=0):
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(at.batch, HEADS, at.length, *shape, generator=rng, dtype=torch.float64)

    q, k, v, g = draw(SIZE), torch.nn.functional.normalize(draw(SIZE), dim=-1), draw(VALUE), draw().sigmoid()
    every = [-draw().exp() * torch.tensor([0.3, 90.0])[:, None], -draw().exp(), draw().sigmoid()]
    return [q, k, v, g, *(every[i] for i in gates)]


def _run(run, leaves, gates, at, s=None, how=(3, 4, 0)):
    given = dict(zip(gates, leaves[4:], strict=True))
    return run(*leaves[:4], given.get(0), given.get(1), given.get(2), at, s, *how)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("which", GATES)
@pytest.mark.parametrize("how", [(1, 4, 0), (3, 2, 0), (12, 3, 0), (3, 4, 5)])
def test_chunks_are_the_loop(name, which, how):
    at, gates, results = LAYOUTS[name], GATES[which], []
    for backend in ("reference", "chunks"):
        leaves = [z.requires_grad_() for z in _inputs(at, gates)]
        with only(backend, omega_rule):
            y, s = _run(omega_rule, leaves, gates, at, how=how)
        y = at.clean(y.transpose(1, 2))
        total = y.sin().sum() + sum(z.cos().sum() for z in s)
        results.append([y, *s, *grad(total, leaves, allow_unused=True, materialize_grads=True)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("chunk", [1, 4])
def test_loop_is_the_gradient_that_autograd_finds(chunk):
    at, window = Layout.dense(1, 9), 3
    q, k, v, g, fall, push, rate = (z[0, 0] for z in _inputs(at, GATES["all"]))
    s = speed = torch.zeros(VALUE, SIZE, dtype=torch.float64)
    y, last = reference(*(z[None, None] for z in (q, k, v, g, fall, push, rate)), at, None, window, chunk, 0)
    for t in range(9):
        if t % chunk == 0:
            base = s.clone().requires_grad_()
        seen = range(max(0, t - window + 1), t + 1)
        loss = sum(g[i] * (base @ k[i] - v[i]).square().sum() / 2 for i in seen)
        speed = push[t].exp() * speed + grad(loss, base)[0]
        s = fall[t].exp() * s - rate[t] * speed
        torch.testing.assert_close(y[0, 0, t], s @ q[t])
    torch.testing.assert_close(last.now[0, 0], s.mT)
    torch.testing.assert_close(last.k[0, 0], k[-2:])


def test_window_and_chunk_of_one_are_the_delta_rule():
    at = MIXED
    q, k, v, g = _inputs(at, ())
    y, s = omega_rule(q, k, v, g, None, None, None, at, None, 1, 1, 0)
    want, last = delta_rule(q, k, v, g, None, at, None)
    torch.testing.assert_close(y, want)
    torch.testing.assert_close(s.now, last)
    other = omega_rule(q, k, v, g, None, None, None, at, None, 2, 1, 0)[0]
    assert (other - want).abs().max() > 0.1


@pytest.mark.parametrize("how", [(3, 1, 0), (4, 3, 0), (3, 4, 5)])
@pytest.mark.parametrize("widths", [(10,), (1,) * 10, (3, 5, 2)])
def test_stream_is_whole(how, widths):
    at, gates = Layout.dense(2, 10), GATES["all"]
    leaves = _inputs(at, gates)
    whole, last = _run(reference, leaves, gates, at, how=how)
    s, outs, i = nothing(*(z[:, :, :0] for z in (leaves[0], leaves[2])), how[0]), [], 0
    for w in widths:
        y, s = _run(omega_rule, [z[:, :, i : i + w] for z in leaves], gates, at.span(i, i + w), s, how)
        outs.append(y)
        i += w
    torch.testing.assert_close(torch.cat(outs, 2), whole)
    for one, other in zip(s, last, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("how", [(3, 4, 0), (4, 2, 5)])
def test_ragged_chunks_are_the_loop(how):
    """Padding anywhere, a row without a token, rows in the middle of a chunk, and a memory from before."""
    seg = torch.tensor([[0, -1, 0, 0, -1, 0, 0, 0, 0], [-1] * 9, [-1, -1, -1, -1, 0, 0, 0, -1, -1]])
    pos = torch.tensor([[5, 0, 6, 7, 0, 8, 9, 10, 11], [0] * 9, [0, 0, 0, 0, 4, 5, 6, 0, 0]])
    at, gates, results = Layout(seg, pos[..., None]), GATES["all"], []
    before = nothing(torch.zeros(3, HEADS, 0, SIZE).double(), torch.zeros(3, HEADS, 0, VALUE).double(), how[0])
    before = [torch.randn_like(z).requires_grad_() for z in before]
    leaves = [z.requires_grad_() for z in _inputs(at, gates)]
    for run in (reference, omega_rule):
        y, s = _run(run, leaves, gates, at, Memory(*before), how)
        y = at.clean(y.transpose(1, 2))
        total = y.sin().sum() + sum(z.cos().sum() for z in s)
        results.append([y, *s, *grad(total, [*leaves, *before], materialize_grads=True, allow_unused=True)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    for one, other in zip(results[1][1:7], before, strict=True):
        torch.testing.assert_close(one[1], other[1])  # nothing new: nothing changed


def test_gradients_are_right_and_none_cross_documents():
    at, gates = MIXED, GATES["all"]
    leaves = [z.requires_grad_() for z in _inputs(at, gates)]

    def run(*z):
        return at.clean(_run(omega_rule, z, gates, at, how=(3, 2, 5))[0].transpose(1, 2))

    assert gradcheck(run, leaves, fast_mode=True)
    second = run(*leaves)[0, 2:6].square().sum()
    for g in grad(second, leaves[1:]):
        assert (g[0, :, :2] == 0).all() and (g[0, :, 6:] == 0).all() and (g[1] == 0).all()


def test_a_window_of_all_tokens_is_gradient_descent_on_all_of_them():
    """With one chunk and steps that shrink to nothing the memory is a sum of values by keys, as linear attention's."""
    at = Layout.dense(1, 6)
    q, k, v, _ = _inputs(at, ())
    g = torch.full((1, HEADS, 6), 0.5, dtype=torch.float64)
    y, _ = omega_rule(q, k, v, g, None, None, None, at, None, 6, 6, 0)
    turns = torch.arange(6, 0, -1, dtype=torch.float64)  # token i is in the window of all that follow
    want = k.mT @ (0.5 * turns[:, None] * v)
    torch.testing.assert_close(y[:, :, -1], (q[:, :, -1:] @ want)[:, :, 0])


def test_traced_is_the_reference():
    gates = GATES["all"]
    for how in ((3, 1, 0), (3, 4, 5)):
        one, two = (_run(run, _inputs(MIXED, gates), gates, MIXED, how=how) for run in (reference, traced))
        torch.testing.assert_close(one[0], two[0])
        for a, b in zip(one[1], two[1], strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_newton_schulz_moves_singular_values_alone(shape):
    z = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(z, full_matrices=False)
    x = s / s.norm(dim=-1, keepdim=True)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(orthogonal(z, 5, eps=0.0), u @ x.diag_embed() @ v)
    assert 0.6 < x.min() and x.max() < 1.25
    muon = pytest.importorskip("torch.optim._muon", reason="this torch has no Muon")
    theirs = muon._zeropower_via_newtonschulz(z[0].float(), (3.4445, -4.7750, 2.0315), 5, 1e-7)
    torch.testing.assert_close(orthogonal(z[0], 5), theirs.double(), rtol=0, atol=0.03)  # theirs is in bfloat16


def test_newton_schulz_of_nothing_is_nothing_and_has_a_gradient():
    z = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    out = orthogonal(z, 5)
    assert (out == 0).all() and grad(out.sum(), z)[0].isfinite().all()
