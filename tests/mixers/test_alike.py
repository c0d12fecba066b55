"""Routing and hashing: their limits, the public package, training of the centres, what a stream holds."""

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import alike, limits
from panformer.claims.peers import routing as peers
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config

D = torch.float64
ONE = {"use": "routing_attention", "clusters": 1}


def build(use, width=16, **options):
    torch.manual_seed(0)
    return config("mixers", {"use": use, "heads": 2, **options}).build(width).double()


def test_one_cluster_of_all_tokens_is_attention():
    assert judges.difference(*limits.attention(0, ONE)) < 1e-12
    assert judges.difference(*limits.attention(0, {**ONE, "clusters": 3})) > 1e-3


@pytest.mark.parametrize("window", [None, 23])
def test_one_causal_cluster_is_attention_to_all_earlier_unit_queries(window):
    assert judges.difference(*alike.shared(0, {**ONE, "window": window})) < 1e-12
    assert judges.difference(*alike.shared(0, {**ONE, "window": 4})) > 1e-3


def test_two_buckets_in_many_rounds_are_attention_to_all_earlier_tokens():
    tree = {"use": "lsh_attention", "buckets": 2, "rounds": 40, "window": None}  # of 40 planes one has both on one side
    assert judges.difference(*alike.shared(0, tree)) < 1e-12
    assert judges.difference(*alike.shared(0, {**tree, "rounds": 1})) > 1e-3


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_equals_the_public_package():
    pytest.importorskip("routing_transformer", reason="routing-transformer is not installed")
    assert judges.difference(*peers.two_sided(0)) < 1e-12
    assert judges.difference(*peers.causal(0)) < 1e-12
    assert judges.difference(*peers.causal(0, mixed=True)) > 1e-3, "where clusters are uneven the choices differ"


def test_the_first_batch_settles_the_centres_and_later_ones_move_them():
    part = build("routing_attention", clusters=3, decay=0.5)
    x, at = torch.randn(2, 30, 16, dtype=D), Layout.padded([30, 21])
    x[1, 21:] = torch.nan
    start = part.means.clone()
    part.eval()(x, at)
    assert torch.equal(part.means, start), "evaluation must leave the centres as they are"
    seen = [start]
    for _ in range(3):
        part.train()(x, at)
        seen.append(part.means.clone())
        torch.testing.assert_close(part.means.norm(dim=-1), torch.ones(2, 3, dtype=D))
    assert not torch.equal(seen[0], seen[1])
    assert (seen[2] - seen[3]).abs().max() < 0.1, "settled centres of one batch come to rest on it"


def test_training_and_evaluation_answer_alike_with_the_same_centres():
    part = build("routing_attention", clusters=3, causal=True, decay=0.0)
    x, at = torch.randn(1, 12, 16, dtype=D), Layout.dense(1, 12)
    part.train()(x, at)
    for _ in range(30):
        out = part(x, at)
    torch.testing.assert_close(out, part.eval()(x, at))


@pytest.mark.parametrize("use", ["routing_attention", "lsh_attention"])
def test_a_stream_keeps_no_more_than_its_groups_can_show(use):
    part = build(use, causal=True, window=3, **({"clusters": 2} if use[0] == "r" else {"buckets": 2, "rounds": 2}))
    x, at, state = torch.randn(2, 90, 16, dtype=D), Layout.dense(2, 90), part.start(2, torch.zeros((), dtype=D))
    out = []
    for a in range(0, 90, 5):
        y, state = part.chunk(x[:, a : a + 5], at.span(a, a + 5), state)
        out.append(y)
        assert state[0].shape[2] <= 2 * 3 * 2 * 2 + 5, f"{state[0].shape[2]} keys are kept after {a + 5} tokens"
    torch.testing.assert_close(torch.cat(out, 1), part(x, at))


def test_odd_buckets_are_refused_in_one_line():
    with pytest.raises(InputError, match="even; got 3") as fault:
        build("lsh_attention", buckets=3)
    assert "\n" not in str(fault.value)
