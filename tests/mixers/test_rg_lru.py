"""The recurrent block of Griffin equals transformers' on copied weights, and its own recurrence written out."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config

from .weights import shaken

WIDTH, BLOCKS = 12, 3
D = torch.float64


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": "rg_lru", "blocks": BLOCKS}).build(WIDTH).double())


def test_equals_transformers(mixer):
    name = "transformers.models.recurrent_gemma.modeling_recurrent_gemma"
    public = pytest.importorskip(name, reason="transformers is not installed")
    c = public.RecurrentGemmaConfig(hidden_size=WIDTH, num_attention_heads=BLOCKS, num_hidden_layers=1)
    peer, m = public.RecurrentGemmaRecurrentBlock(c, 0).double().eval(), mixer
    weights = {
        "linear_x": m.input, "linear_y": m.gate, "linear_out": m.output, "conv_1d.weight": m.filter[:, None],
        "conv_1d.bias": m.offset, "rg_lru.recurrent_param": m.rate, "rg_lru.input_gate_weight": m.into,
        "rg_lru.input_gate_bias": m.into_offset, "rg_lru.recurrent_gate_weight": m.fade,
        "rg_lru.recurrent_gate_bias": m.fade_offset,
    }  # fmt: skip
    flat = {k: v for k, v in weights.items() if isinstance(v, torch.Tensor)}
    for k, v in weights.items():
        if not isinstance(v, torch.Tensor):
            flat |= {f"{k}.weight": v.weight, f"{k}.bias": v.bias}
    peer.load_state_dict({k: v.detach() for k, v in flat.items()}, strict=True)
    x = torch.randn(2, 17, WIDTH, dtype=D)
    theirs, _ = peer(x, torch.arange(17)[None], None, use_cache=False)
    torch.testing.assert_close(mixer(x, Layout.dense(2, 17)), theirs, rtol=0, atol=1e-5)  # theirs sums in float32


def test_is_the_recurrence_token_by_token(mixer):
    m, x = mixer, torch.randn(1, 9, WIDTH, dtype=D)
    out = m(x, Layout.dense(1, 9))[0]
    u, y = m.input(x[0]), F.gelu(m.gate(x[0]), approximate="tanh")
    h = torch.zeros(WIDTH, dtype=D)
    into, fade = (torch.block_diag(*w) for w in (m.into, m.fade))
    for t in range(9):
        v = sum(m.filter[:, 3 - j] * u[t - j] for j in range(min(4, t + 1))) + m.offset
        i, r = torch.sigmoid(v @ into + m.into_offset.flatten()), torch.sigmoid(v @ fade + m.fade_offset.flatten())
        a = torch.exp(-8 * r * F.softplus(m.rate))
        h = a * h + ((1 - a**2).sqrt() if t else 1.0) * i * v
        torch.testing.assert_close(out[t], m.output(h * y[t]))
