"""Each normaliser is its formula; where its numbers say so, it is softmax; gates scale what heads found."""

import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config

AT = Layout.dense(2, 9)


def _attention(seed=0, **options):
    torch.manual_seed(seed)
    return config("mixers", {"use": "attention", "heads": 2, "causal": True, **options}).build(8).double()


def _pair(**normaliser):
    """(attention with the normaliser, softmax attention of the same maps, input)."""
    part, plain = _attention(normaliser=normaliser), _attention()
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if not k.startswith("normaliser")})
    return part, plain, torch.randn(2, 9, 8, dtype=torch.float64)


def _scores(seed=0):
    """(scores, visible keys, how many) of five causal queries."""
    rng = torch.Generator().manual_seed(seed)
    score, keep = torch.randn(1, 2, 5, 5, generator=rng, dtype=torch.float64), torch.ones(5, 5).tril().bool()
    return score, keep[None, None], torch.arange(1.0, 6.0, dtype=torch.float64)[None, None, :, None]


def _build(use, **options):
    return config("normalisers", {"use": use, **options}).build(2).double()


def test_clipped_softmax_without_a_stretch_is_softmax():
    part, plain, x = _pair(use="clipped_softmax")
    torch.testing.assert_close(part(x, AT), plain(x, AT), rtol=1e-12, atol=1e-14)


def test_clipped_softmax_gives_exact_zeros_and_ones_with_no_gradient_there():
    score, keep, seen = _scores()
    score[..., 4, :] = torch.tensor([6.0, 0.0, 0.1, 0.2, 0.0])  # one large share
    score.requires_grad_()
    weight = _build("clipped_softmax", gamma=-0.1, zeta=1.1)(score, keep, seen)
    share = score.masked_fill(~keep, -torch.inf).softmax(-1)
    torch.testing.assert_close(weight, (1.2 * share - 0.1).clamp(0, 1))
    assert weight[0, 0, 4].tolist() == [1, 0, 0, 0, 0]
    (slope,) = torch.autograd.grad(weight[0, 0, 4].sum(), score)
    assert (slope == 0).all()
    by_length = _build("clipped_softmax", alpha=0.5)(score, keep, seen)
    torch.testing.assert_close(by_length, ((1 + 0.5 / seen) * share - 0.5 / seen).clamp(0, 1) * keep)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_relu_divides_by_a_power_of_the_keys_seen(alpha):
    score, keep, seen = _scores()
    weight = _build("relu", alpha=alpha)(score, keep, seen)
    for i in range(5):
        torch.testing.assert_close(weight[:, :, i], score[:, :, i].clamp(min=0) * (i + 1.0) ** -alpha)


def test_sigmoid_of_equal_scores_weighs_almost_as_a_mean():
    score, keep, seen = _scores()
    weight = _build("sigmoid")(score * 0, keep, seen)
    torch.testing.assert_close(weight[0, 0, :, 0], 1 / (1 + seen[0, 0, :, 0]))
    moved = _build("sigmoid", offset=0.7)(score, keep, seen)
    torch.testing.assert_close(moved, 1 / (1 + torch.exp(-(score + 0.7)) * seen))


def test_standardised_scores_have_mean_and_deviation_as_learned():
    score, keep, seen = _scores()
    part = _build("standardised", eps=1e-12)
    part.gain.data, part.offset.data = torch.tensor([2.0, 0.5]).double(), torch.tensor([0.3, -1.0]).double()
    weight = part(score, keep, seen)
    for h, (gain, offset) in enumerate(((2.0, 0.3), (0.5, -1.0))):
        row = weight[0, h, 4] * 5
        torch.testing.assert_close(row.mean().item(), offset)
        torch.testing.assert_close(row.std(correction=0).item(), gain)


def test_length_softmax_is_softmax_at_one_length():
    """At e^2 keys a scale of a half divides by nothing; the two-sided form sees all keys from everywhere."""
    score, _, _ = _scores()
    keep, seen = torch.ones(1, 1, 5, 5).bool(), torch.full((1, 1, 5, 1), math.exp(2), dtype=torch.float64)
    part = _build("length_softmax")
    part.scale.data.fill_(0.5)
    torch.testing.assert_close(part(score, keep, seen), score.softmax(-1))


@pytest.mark.parametrize("gate", ["head", "channel"])
def test_a_gate_scales_what_each_head_found(gate):
    part, plain = _attention(gate=gate), _attention()
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if not k.startswith("gate")})
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    plain.o, map_out = torch.nn.Identity(), part.o
    gates = part.gate(x).sigmoid().unflatten(-1, (2, -1))
    want = map_out((plain(x, AT).unflatten(-1, (2, 4)) * gates).flatten(2))
    torch.testing.assert_close(part(x, AT), want)
    with torch.no_grad():
        part.gate.bias.fill_(1e3)
    torch.testing.assert_close(part(x, AT), map_out(plain(x, AT)))


@pytest.mark.parametrize("wrong", [{"gamma": 0.1}, {"zeta": 0.9}, {"alpha": -1.0}])
def test_a_stretch_that_shrinks_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        _build("clipped_softmax", **wrong)


def test_beyond_softmax_sharpens_only_past_the_trained_length():
    score, keep, seen = _scores()
    weight = _build("beyond_softmax", trained=3, strength=0.5)(score, keep, seen)
    for i in range(5):
        scale = 1 + 0.5 * max(0, math.log((i + 1) / 3)) / math.log(3)
        want = (scale * score[..., i, : i + 1]).softmax(-1)
        torch.testing.assert_close(weight[..., i, : i + 1], want, rtol=1e-12, atol=1e-14)
    part, plain, x = _pair(use="beyond_softmax", trained=9)
    torch.testing.assert_close(part(x, AT), plain(x, AT), rtol=1e-12, atol=1e-14)
