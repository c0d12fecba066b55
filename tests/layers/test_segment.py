"""One value per sequence: the pooled result equals a loop over sequences, in every form of batch."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.ops.segment import mean, moments, pool, spread

LAYOUTS = {
    "dense": Layout.dense(3, 5),
    "right": Layout.padded([5, 2, 1]),
    "left": Layout.padded([5, 2, 1], side="left"),
    "packed": Layout.packed([4, 1, 3]),
    "mixed": Layout(torch.tensor([[-1, 0, 0, 1, -1, -1], [0, 0, 0, -1, 1, 1]]), torch.zeros(2, 6, 1).long()),
}
LOOP = {
    "mean": lambda s: s.mean(0),
    "max": lambda s: s.amax(0),
    "first": lambda s: s[0],
    "last": lambda s: s[-1],
}


def sequences(x, at):
    return [x[row][at.seg[row] == i] for row in range(at.batch) for i in range(int(at.seg[row].max()) + 1)]


@pytest.mark.parametrize("form", LAYOUTS)
@pytest.mark.parametrize("how", LOOP)
def test_pool_equals_a_loop(form, how):
    at = LAYOUTS[form]
    x = torch.randn(*at.seg.shape, 4, dtype=torch.float64, requires_grad=True)
    want = torch.stack([LOOP[how](s) for s in sequences(x, at)])
    got = pool(x, at, how)
    torch.testing.assert_close(got, want)
    weight = torch.randn_like(want)
    grads = [torch.autograd.grad((y * weight).sum(), x, retain_graph=True)[0] for y in (want, got)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("form", LAYOUTS)
def test_moments_equal_a_loop(form):
    at = LAYOUTS[form]
    x = torch.randn(*at.seg.shape, 4, dtype=torch.float64)
    middle, deviation = moments(x, at, 1e-5)
    torch.testing.assert_close(middle, torch.stack([s.mean(0) for s in sequences(x, at)]))
    want = torch.stack([(s.var(0, correction=0) + 1e-5).sqrt() for s in sequences(x, at)])
    torch.testing.assert_close(deviation, want)
    back = spread(middle, at).expand_as(x)
    for s, m in zip(sequences(back, at), middle):
        assert torch.equal(s, m.expand_as(s))


@pytest.mark.parametrize("form", ["dense", "packed"])
def test_half_precision_is_summed_in_float32(form):
    at = Layout.dense(1, 4096) if form == "dense" else Layout.packed([4095, 1])
    x = torch.ones(1, 4096, 2, dtype=torch.bfloat16)  # a sum in bfloat16 stops growing at 256
    assert torch.equal(mean(x, at)[0], torch.ones(2, dtype=torch.bfloat16))
