"""Region attention: blocks equal the implied matrix, the matrix is a full causal distribution, one token a block is dense."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.kernels import region_attention_blocks as blocks
from panformer.ops.region_attention import matrix, reference

SCALE = 0.6


def inputs(length=41, t=None, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = ((2, 2, t or length, 3), (2, 2, length, 3), (2, 2, length, 5), (2, 2, length, 3))
    q, k, v, p = (torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for s in shapes)
    valid = torch.arange(length) < torch.tensor([[length], [20]])
    return [q, k, v, p], valid


@pytest.mark.parametrize("block", [None, 1, 4, 100])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("t", [41, 30, 1])
def test_blocks_are_the_matrix(block, causal, t):
    results = []
    for run in (reference, blocks.run):
        leaves, valid = inputs(t=t)
        y = run(*leaves, valid, block, causal, SCALE)
        results.append([y, *torch.autograd.grad(y.sin().sum(), leaves, materialize_grads=True)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("block", [None, 1, 4])
def test_every_token_that_may_be_seen_has_some_weight_and_all_weights_make_one(block):
    (q, k, _, p), valid = inputs()
    a = matrix(q, k, p, valid, block, True, SCALE)
    torch.testing.assert_close(a[0].sum(-1), torch.ones_like(a[0, ..., 0]))
    assert torch.equal(a[0] > 0, torch.ones(2, 41, 41).tril().bool())
    assert (a[1, :, :, 20:] == 0).all(), "weight on padding"


def test_a_region_is_weighed_by_its_summary_and_shared_out_by_its_own_query():
    """The two sentences of the paper, written out for one query and two blocks."""
    (q, k, _, p), valid = inputs()
    a = matrix(q, k, p, valid, 4, True, SCALE)[0, 0]
    q, k, p = (x[0, 0] for x in (q, k, p))
    i = 9  # sees blocks 0 and 1, and tokens 8 and 9
    summaries = [k[:4].amax(0), k[4:8].amax(0)]
    joint = torch.stack([*(s @ q[i] for s in summaries), k[8] @ q[i], k[9] @ q[i]]).mul(SCALE).softmax(0)
    inside = (k[4:8] @ p[4:8].amax(0) * SCALE).softmax(0)
    torch.testing.assert_close(a[i, 4:8], joint[1] * inside)
    torch.testing.assert_close(a[i, 8:10], joint[2:])


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("block", [1, 50])
def test_blocks_of_one_token_or_of_all_are_dense_attention(block, causal):
    torch.manual_seed(0)
    ours = config("mixers", {"use": "combiner", "heads": 2, "block": block, "causal": causal}).build(8).double()
    peer = config("mixers", {"use": "attention", "heads": 2, "causal": causal}).build(8).double()
    peer.load_state_dict(ours.state_dict())
    x, at = torch.randn(1, 27, 8, dtype=torch.float64), Layout.packed([13, 1, 13])
    torch.testing.assert_close(ours(x, at), peer(x, at))


@pytest.mark.parametrize("block", [None, 1, 4])
def test_a_stream_reads_summaries_of_finished_blocks_and_answers_as_the_whole(block, monkeypatch):
    torch.manual_seed(0)
    mixer = config("mixers", {"use": "combiner", "heads": 2, "block": block, "causal": True}).build(8).double()
    x = torch.randn(2, 90, 8, dtype=torch.float64)
    want = mixer(x, Layout.dense(2, 90))
    state, out, place, whole = mixer.start(2, x[:, :0]), [], 0, []
    monkeypatch.setattr(
        type(mixer), "_mix", lambda self, *a, mix=type(mixer)._mix: whole.append(place) or mix(self, *a)
    )
    for count in (20, 1, 1, 9, 1, 30, *[1] * 28):  # blocks double at 16 and at 64
        y, state = mixer.chunk(x[:, place : place + count], Layout.dense(2, count, place), state)
        out.append(y)
        place += count
    torch.testing.assert_close(torch.cat(out, 1), want, rtol=1e-10, atol=1e-12)
    assert whole == ([0, 64] if block is None else [0]), "other chunks than the first and where blocks double"
    assert state[3].shape[2] == 90 // (16 if block is None else block)
