"""The unit is the recurrence token by token; casts leave its matrices right; spiking units train what they read."""

import numpy as np
import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size
from panformer.ops.spike import Neuron, fire

from .weights import shaken

WIDTH = 10


def _mixer(use, **options):
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": use, **options}).build(WIDTH).double())


def test_is_the_recurrence_with_scipys_matrices():
    signal = pytest.importorskip("scipy.signal", reason="no scipy")
    order, window = 6, 9.0
    rate = [(2 * i + 1) / window for i in range(order)]
    a = [[r * (-1 if i < j else (-1) ** (i - j + 1)) for j in range(order)] for i, r in enumerate(rate)]
    b = [[r * (-1) ** i] for i, r in enumerate(rate)]
    a, b, *_ = signal.cont2discrete(tuple(np.array(z) for z in (a, b, [[1.0] * order], [[0.0]])), 1.0, "zoh")
    a, b = torch.from_numpy(a), torch.from_numpy(b)[:, 0]
    part, x = _mixer("lmu", order=order, window=window, inputs=2), torch.randn(1, 70, WIDTH, dtype=torch.float64)
    m = torch.zeros(2, order, dtype=torch.float64)
    out = part(x, Layout.dense(1, 70))[0]
    for t in range(70):
        u = (part.write.weight @ x[0, t] + part.write.bias).relu()
        m = torch.stack([a @ m[e] + b * u[e] for e in range(2)])
        h = (part.read.weight @ torch.cat([m.flatten(), x[0, t]]) + part.read.bias).relu()
        torch.testing.assert_close(out[t], part.output.weight @ h + part.output.bias, rtol=0, atol=1e-10)


def test_a_cast_there_and_back_leaves_the_matrices_as_they_were():
    part = config("mixers", {"use": "lmu", "order": 20}).build(WIDTH)
    wide = part.double().a.clone()
    assert part.to(torch.bfloat16).a.dtype == torch.float32
    assert torch.equal(part.a, wide.float())
    assert torch.equal(part.double().a, wide)
    assert not {"a", "b"} & set(part.state_dict())


def test_the_state_is_the_memory_alone():
    part = _mixer("lmu", order=8, inputs=3)
    assert size(part.start(2, torch.zeros(1))) == 2 * 3 * 8 * 4


@pytest.mark.parametrize("kernel", [1, 3])
def test_spiking_maps_read_only_zeros_and_ones(kernel):
    part, x, seen = _mixer("spiking_mlp", hidden=8, kernel=kernel, norm="layer"), 2 * torch.randn(1, 30, WIDTH), []
    for name in ("up", "down"):
        getattr(part, name).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    part(x.double(), Layout.dense(1, 30))
    for spikes in seen:
        assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_spiking_is_the_layers_written_out():
    part, x, at = _mixer("spiking_mlp", hidden=8, kernel=3), torch.randn(1, 20, WIDTH).double(), Layout.dense(1, 20)
    u = part.up(fire(x, Neuron(), at, None, False)[0])[0]
    near = [sum(part.filter[:, 2 - j] * u[t - j] for j in range(min(3, t + 1))) for t in range(20)]
    spikes = fire(torch.stack(near)[None], Neuron(), at, None, False)[0]
    assert spikes.any()
    torch.testing.assert_close(part(x, at), part.down(spikes))


def test_spiking_learns_below_its_spikes_only_in_training():
    part, x = _mixer("spiking_mlp", hidden=8), torch.randn(1, 20, WIDTH).double()
    part.train()(x, Layout.dense(1, 20)).sum().backward()
    assert part.up.weight.grad.abs().sum() > 0
    part.zero_grad()
    part.eval()(x, Layout.dense(1, 20)).sum().backward()
    assert part.up.weight.grad is None or not part.up.weight.grad.any()
    assert part.down.weight.grad.abs().sum() > 0


def test_a_norm_over_all_tokens_is_refused():
    with pytest.raises(InputError, match="spiking_mlp: norm 'group'"):
        config("mixers", {"use": "spiking_mlp", "norm": {"use": "group"}}).build(WIDTH)
