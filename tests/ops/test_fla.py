"""Operators equal the naive forms of flash-linear-attention, which sum in float32.

Its package wants the compiler of a GPU as soon as it is imported; these files need torch alone.
"""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import module_from_spec, spec_from_file_location

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.delta_rule import delta_rule
from panformer.ops.gated_linear import gated_linear
from panformer.ops.linear_attention import linear_attention, linear_attention_chunk

BATCH, HEADS, LENGTH, SIZE, VALUE = 2, 3, 128, 8, 6  # a length that their chunks of 64 and 32 divide
AT = Layout.dense(BATCH, LENGTH)
D = torch.float64


def naive(name):
    """The file of an operator's naive forms."""
    try:
        place = distribution("fla-core").locate_file(f"fla/ops/{name}/naive.py")
    except PackageNotFoundError:
        pytest.skip("flash-linear-attention is not installed")
    found = spec_from_file_location(f"naive_{name}", place)
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def drawn(*sizes):
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(BATCH, HEADS, LENGTH, *n, generator=rng, dtype=D) for n in sizes]


def turned(*xs):
    """(B, H, T, ...) -> (B, T, H, ...)."""
    return [x.transpose(1, 2) for x in xs]


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b.double(), rtol=0, atol=1e-4)


def test_gated_linear_attention():
    q, k, v, fall = drawn((SIZE,), (SIZE,), (VALUE,), (SIZE,))
    fall, start = F.logsigmoid(fall) / 4, torch.randn(BATCH, HEADS, SIZE, VALUE, dtype=D)
    y, s = naive("gla").naive_recurrent_gla(*turned(q, k, v, fall), start, True)
    close(gated_linear(q * SIZE**-0.5, k, v, fall, AT, start), [y.transpose(1, 2), s])


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_a_decay_for_each_head_as_in_mamba_2(form):
    q, k, v, fall = drawn((SIZE,), (SIZE,), (VALUE,), ())
    fall, start = F.logsigmoid(fall), torch.randn(BATCH, HEADS, SIZE, VALUE, dtype=D)
    run = getattr(naive("simple_gla"), f"naive_{form}_simple_gla")
    y, s = run(*turned(q, k, v, fall), initial_state=start.float(), output_final_state=True)
    down = fall.cumsum(-1)
    state = start, down.new_zeros(BATCH, HEADS)
    ours, (last, _) = linear_attention_chunk(q * SIZE**-0.5, k, v, AT, (down, down), state)
    close([ours, last], [y.transpose(1, 2), s])


def test_linear_attention():
    q, k, v = drawn((SIZE,), (SIZE,), (VALUE,))
    module, inputs = naive("linear_attn"), turned(q, k, v)
    for y in (module.naive_chunk_linear_attn(*inputs), module.naive_recurrent_linear_attn(*inputs)[0]):
        close([linear_attention(q * SIZE**-0.5, k, v, AT, True, None)], turned(y))


def test_retention():
    mixer = config("mixers", {"use": "retention", "heads": HEADS}).build(HEADS * SIZE).double()
    q, k, v = drawn((SIZE,), (SIZE,), (SIZE,))
    ours = linear_attention(q, k * SIZE**-0.5, v, AT, True, mixer._decay(AT))
    close([ours], [naive("retention").naive_retention(q, k, v)])


@pytest.mark.parametrize("form", ["chunkwise", "recurrence"])
def test_delta_rule(form):
    q, k, v, b = drawn((SIZE,), (SIZE,), (VALUE,), ())
    k, b = F.normalize(k, dim=-1), b.sigmoid()
    kind = torch.float32 if form == "chunkwise" else D
    theirs = getattr(naive("delta_rule"), f"delta_rule_{form}")(*(z.to(kind) for z in (q, k, v, b)))
    close(delta_rule(q * SIZE**-0.5, k, v, b, None, AT, None), theirs)


@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_gated_delta_rule(form):
    q, k, v, b, fall = drawn((SIZE,), (SIZE,), (VALUE,), (), ())
    k, b, fall = F.normalize(k, dim=-1), b.sigmoid(), F.logsigmoid(fall)
    run = getattr(naive("gated_delta_rule"), f"naive_{form}_gated_delta_rule")
    parts = dict(zip(("q", "k", "v", "beta", "g"), turned(q, k, v, b, fall), strict=True))
    y, s = run(**parts, output_final_state=True)
    close(delta_rule(q * SIZE**-0.5, k, v, b, fall, AT, None), [y.transpose(1, 2), s])
