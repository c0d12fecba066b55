"""Merged latents: what is trained is what streams, the state is s times smaller, and the authors' module agrees."""

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import latents
from panformer.core import state as states
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.backend import record

WIDTH = 16


def _mixer(**options):
    torch.manual_seed(0)
    tree = {"use": "temporal_latent_attention", "heads": 2, "kv_rank": 6, "turned_width": 4, **options}
    return config("mixers", tree).build(WIDTH).double()


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_all_tokens_at_once_equal_a_cache_that_fills(stride):
    assert judges.difference(*latents.merged(0, stride)) < 1e-12
    assert judges.difference(*latents.merged(0, stride, weights=False)) > 1e-3, "the weights do nothing"


def test_chunks_of_one_are_latent_attention():
    assert judges.difference(*latents.of_one(0)) < 1e-12
    assert judges.difference(*latents.of_one(0, halved=False)) > 1e-3


@torch.no_grad()
def test_of_one_token_weights_scale_the_latent():
    """At s = 1 with any weights: latent attention whose latents are w c, here by a norm that multiplies."""
    part = _mixer(stride=1, merge="weighed")
    plain = _mixer(stride=1, merge="last")
    plain.load_state_dict({n: t for n, t in part.state_dict().items() if n in plain.state_dict()})
    x, at = torch.randn(2, 9, WIDTH, dtype=torch.float64), Layout.dense(2, 9)
    scaled = part._merged(part._latent(x, at)[0], at, None)
    plain.norm_kv.forward = lambda c, at: scaled
    torch.testing.assert_close(part(x, at), plain(x, at), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_the_state_holds_one_place_for_a_chunk(stride):
    x, at = torch.randn(2, 24, WIDTH, dtype=torch.float64), Layout.dense(2, 24)
    m = _mixer(stride=stride)
    state = m.chunk(x, at, m.start(2, x))[1]
    assert states.size(state) == 2 * 8 * (24 // stride * (6 + 4 + 1) + 6), "latents, turned parts, places; the open sum"


@torch.no_grad()
def test_striding_alone_reads_single_latents():
    """With `merge: last`, full chunks before the last one are seen through their last token alone."""
    m, x = _mixer(stride=3, merge="last"), torch.randn(1, 8, WIDTH, dtype=torch.float64)
    other = x.clone()
    other[:, [0, 1, 3, 4]] = torch.randn(4, WIDTH, dtype=torch.float64)
    at = Layout.dense(1, 8)
    torch.testing.assert_close(m(x, at)[:, 7], m(other, at)[:, 7], rtol=1e-12, atol=1e-12)
    merged = _mixer(stride=3)
    assert (merged(x, at)[:, 7] - merged(other, at)[:, 7]).abs().max() > 1e-3


@torch.no_grad()
def test_one_token_needs_no_mask():
    """All that is kept is visible to the next token, so that the fast step takes it."""
    m, x = _mixer(stride=2).float(), torch.randn(2, 7, WIDTH)
    _, state = m.chunk(x, Layout.dense(2, 7), m.start(2, x))
    with record() as used:
        m.step(x[:, :1], Layout.dense(2, 1, 7), state)
    assert used["attend:step"] == 1, dict(used)


@pytest.mark.parametrize(("stride", "streams"), [(1, False), (2, False), (3, False), (2, True), (3, True), (4, True)])
def test_equals_the_authors_module(stride, streams):
    """Theirs turns and counts in float32. Its cache of chunks of one token does not grow, so that is left out."""
    pytest.importorskip("MTLA", reason="mtla is not installed")
    from panformer.claims.peers.latents import temporal

    assert judges.difference(*temporal(0, stride, streams=streams), exact=False) < 1e-5
