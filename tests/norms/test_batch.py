"""Batch normalisation of heads: what is normalised is the last axis, however many lie before it."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.part import config

HEADS, SIZE = 4, 4  # as many heads as channels: an axis that is mistaken for the other raises nothing


@pytest.mark.parametrize("use", ["batch", "progressive_batch"])
@pytest.mark.parametrize("at", [Layout.dense(2, 5), Layout.padded([5, 3])], ids=["dense", "padded"])
def test_heads_are_further_tokens(use, at):
    x = torch.randn(2, 5, HEADS, SIZE, dtype=torch.float64) * torch.arange(1, 5).view(4, 1)
    torch.manual_seed(0)
    one, other = (config("norms", use).build(SIZE).double().train() for _ in range(2))
    each = Layout(at.seg.repeat_interleave(HEADS, 1), at.pos.repeat_interleave(HEADS, 1))
    for _ in range(2):
        seen = one(x, at), other(x.flatten(1, 2), each).view(x.shape)
        torch.testing.assert_close(*(y[at.valid] for y in seen))
    seen = one.eval()(x, at), other.eval()(x.flatten(1, 2), each).view(x.shape)
    torch.testing.assert_close(*(y[at.valid] for y in seen))
