"""DeltaNet is the recurrence written out; the gated one equals transformers' block, and becomes DeltaNet without decay."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size

from .weights import shaken

WIDTH, HEADS = 12, 4


def _mixer(use, **options):
    torch.manual_seed(0)
    return shaken(config("mixers", {"use": use, "heads": HEADS, **options}).build(WIDTH).double())


def test_is_the_recurrence_token_by_token():
    m, x = _mixer("delta_net"), torch.randn(1, 9, WIDTH, dtype=torch.float64)
    out, u, e = m(x, Layout.dense(1, 9))[0], m.input(x[0]), WIDTH // HEADS
    s = torch.zeros(HEADS, e, e, dtype=torch.float64)
    for t in range(9):
        seen = [m.filter[:, 3 - j] * u[t - j] for j in range(min(4, t + 1))]
        q, k, v = F.silu(sum(seen)).view(3, HEADS, e)
        b, y = torch.sigmoid(m.b(x[0, t])), torch.empty(HEADS, e, dtype=torch.float64)
        for i in range(HEADS):
            key, query = (z / (z.square().sum() + 1e-6).sqrt() for z in (k[i], q[i]))
            s[i] = s[i] @ (torch.eye(e).double() - b[i] * torch.outer(key, key)) + b[i] * torch.outer(v[i], key)
            y[i] = s[i] @ query * e**-0.5
        y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() * m.weight
        torch.testing.assert_close(out[t], m.output(y.flatten()))


def test_gated_equals_transformers():
    public = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next", reason="no transformers")
    c = public.Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_value_heads=HEADS, linear_num_key_heads=2, linear_key_head_dim=3,
        linear_value_head_dim=3, num_hidden_layers=1, layer_types=["linear_attention"],
    )  # fmt: skip
    peer = public.Qwen3NextGatedDeltaNet(c, 0).double().eval()
    m = _mixer("gated_delta_net", groups=2, size=3)
    q, k, v = (z.unflatten(0, (2, -1)) for z in m.input.weight.split(m.parts))
    merged = torch.cat([q, k, v, m.g.weight.unflatten(0, (2, -1))], 1).flatten(0, 1)
    gates = torch.cat([z.weight.unflatten(0, (2, -1)) for z in (m.b, m.a)], 1).flatten(0, 1)
    weights = {
        "in_proj_qkvz.weight": merged, "in_proj_ba.weight": gates, "conv1d.weight": m.filter[:, None], "dt_bias": m.delta,
        "A_log": m.a_log, "norm.weight": m.weight, "out_proj.weight": m.output.weight,
    }  # fmt: skip
    peer.load_state_dict({k: v.detach() for k, v in weights.items()}, strict=True)
    x = torch.randn(2, 70, WIDTH, dtype=torch.float64, requires_grad=True)
    ours, theirs = m(x, Layout.dense(2, 70)), peer(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # the peer sums in float32
    (ga,), (gb,) = (torch.autograd.grad(y.sin().sum(), x) for y in (ours, theirs))
    torch.testing.assert_close(ga, gb, rtol=0, atol=1e-4)


def test_gated_without_decay_is_the_delta_rule():
    gated, plain = _mixer("gated_delta_net"), _mixer("delta_net")
    gated.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        gated.a_log.fill_(-1e3)
    gated.read = lambda y, x: y
    x, at = torch.randn(2, 20, WIDTH, dtype=torch.float64), Layout.dense(2, 20)
    torch.testing.assert_close(gated(x, at), plain(x, at))


def test_state_does_not_grow():
    m, x = _mixer("delta_net"), torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state = m.start(2, x)
    assert size(m.chunk(x, Layout.dense(2, 40), state)[1]) == size(state) == 2 * 8 * (3 * 3 * WIDTH + HEADS * 9)
