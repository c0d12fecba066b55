"""A norm that goes from one kind to the other: both ends, what lies between, and what is saved."""

from __future__ import annotations

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import progressive
from panformer.core.layout import Layout, pack
from panformer.core.part import config

D = torch.float64


def built(steps=4):
    torch.manual_seed(0)
    norm = config("norms", {"use": "progressive_batch", "steps": steps}).build(6).double()
    with torch.no_grad():
        for p in norm.parameters():
            p += 0.2 * torch.randn_like(p)
    return norm


def test_it_begins_as_layer_norm_and_ends_as_batch_norm_and_a_share_of_its_input():
    norm, at = built().train(), Layout.dense(3, 5)
    x = torch.randn(3, 5, 6, dtype=D)
    torch.testing.assert_close(norm(x, at), norm.layer(x, at))
    half = [float(norm.gamma)] + [float(norm.gamma) for _ in range(6) if norm(x, at) is not None]
    assert half == [0.75, 0.5, 0.25, 0, 0, 0, 0]
    torch.testing.assert_close(norm(x, at), norm.batch(x, at) + norm.eta * x)


def test_between_it_is_their_weighted_sum_in_evaluation_too_and_evaluation_does_not_count():
    norm, at = built().train(), Layout.dense(3, 5)
    x = torch.randn(3, 5, 6, dtype=D)
    norm(x, at)
    norm.eval()
    want = 0.75 * norm.layer(x, at) + 0.25 * (norm.batch(x, at) + norm.eta * x)
    torch.testing.assert_close(norm(x, at), want)
    assert int(norm.seen) == 1 and "seen" in norm.state_dict()


def test_padding_is_not_counted():
    xs = [torch.randn(n, 6, dtype=D) for n in (3, 7)]
    x, at = pack(xs)
    packed, dense = built(1).train(), built(1).train()
    x = x.masked_fill(~at.valid[..., None], torch.nan)
    for _ in range(2):
        packed(x, at)
        dense(torch.cat(xs)[None], Layout.dense(1, 10))
    torch.testing.assert_close(packed.batch.norm.running_mean, dense.batch.norm.running_mean)
    assert packed(x, at)[at.valid].isfinite().all()


def test_a_linear_map_takes_it_over():
    assert judges.difference(*progressive.folded(0)) < 1e-12
    assert judges.difference(*progressive.folded(0, offset=False)) > 1e-2


@pytest.mark.parametrize("causal", [False, True])
def test_sums_equal_the_matrix_of_weights(causal):
    assert judges.difference(*progressive.orders(0, causal)) < 1e-12
    assert judges.difference(*progressive.orders(0, causal, near=False)) > 1e-2
