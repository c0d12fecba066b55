"""Linear attention to both sides: the matrix, two scans and two recurrences are one function, gradients too."""

import pytest
import torch

from panformer.ops.backend import only
from panformer.ops.gated_linear import reference as recurrence
from panformer.ops.kernels import linear_attention_blocks
from panformer.ops.reverse import reverse
from panformer.ops.two_sided import quasiseparable, two_sided

from .batches import BATCHES

HEADS, SIZE, VALUE = 2, 3, 4


@pytest.fixture(params=[4, 64, 1], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(linear_attention_blocks, "SIZE", request.param)


def _inputs(at, seed=0):
    """The second head forgets almost all from token to token."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(at.batch, HEADS, at.length, *shape, generator=rng, dtype=torch.float64)

    fall = -draw().exp() * torch.tensor([0.3, 60.0])[:, None]
    return [draw(SIZE), draw(SIZE), draw(VALUE), fall]


def _recurrent(q, k, v, fall, at):
    """S_i = a_i S_{i-1} + k_i v_i', read by q_i, token by token."""
    return recurrence(q, k, v, fall[..., None].expand_as(q), at, None)[0]


def _turned(x, at):
    return reverse(x.transpose(1, 2), at).transpose(1, 2)


def _two_rnns(q, k, v, fall, at):
    """As the paper writes it: each side without half of the diagonal."""
    half = (q * k).sum(-1, keepdim=True) * v / 2
    back = _recurrent(*(_turned(z, at) for z in (q, k, v, fall)), at)
    return (_recurrent(q, k, v, fall, at) - half) + (_turned(back, at) - half)


def _alike(at, runs, inputs):
    results = []
    for run in runs:
        leaves = [z.clone().requires_grad_() for z in inputs]
        y = at.clean(run(*leaves).transpose(1, 2))
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves)])
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", BATCHES)
def test_matrix_scans_and_recurrences_are_one(name):
    at = BATCHES[name]

    def pinned(backend):
        def run(*z):
            with only(backend, two_sided):
                return two_sided(*z, at)

        return run

    _alike(at, [pinned("reference"), pinned("scans"), lambda *z: _two_rnns(*z, at)], _inputs(at))


@pytest.mark.parametrize("name", BATCHES)
def test_quasiseparable_is_its_matrices(name):
    at = BATCHES[name]

    def pinned(backend):
        def run(*z):
            with only(backend, quasiseparable):
                return quasiseparable(*zip(z[:4], z[4:], strict=True), at)

        return run

    _alike(at, [pinned("reference"), pinned("scans")], [*_inputs(at), *_inputs(at, 1)])


def test_without_decay_it_is_linear_attention_and_with_one_rate_it_depends_on_distance():
    at = BATCHES["dense"]
    q, k, v, fall = _inputs(at)
    plain = (q @ k.mT) @ v
    torch.testing.assert_close(two_sided(q, k, v, None, at), plain)
    torch.testing.assert_close(two_sided(q, k, v, 0 * fall, at), plain)
    place = torch.arange(10)
    weight = 0.7 ** (place[:, None] - place).abs().double()
    same = torch.full_like(fall, 0.7).log()
    torch.testing.assert_close(two_sided(q, k, v, same, at), (q @ k.mT * weight) @ v)


@pytest.mark.parametrize("name", BATCHES)
def test_reversed_twice_is_the_same_and_once_is_each_sequence_turned(name):
    at = BATCHES[name]
    x = torch.randn(at.batch, at.length, 2)
    torch.testing.assert_close(reverse(reverse(x, at), at), x)
    turned = reverse(x, at)
    for n in range(at.sequences):
        here = at.ordinal == n
        torch.testing.assert_close(turned[here], x[here].flip(0))
