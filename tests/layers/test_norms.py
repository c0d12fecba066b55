"""Norms equal torch's own on copied weights; the group norm, sequence by sequence."""

import pytest
import torch
from torch import nn

from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config

WIDTH = 6


def build(use, **options):
    norm = config("norms", {"use": use, **options}).build(WIDTH).double()
    with torch.no_grad():
        for p in norm.parameters():
            p.normal_()
    return norm


@pytest.mark.parametrize(
    ("use", "peer"), [("layer", nn.LayerNorm(WIDTH, eps=1e-5)), ("rms", nn.RMSNorm(WIDTH, eps=1e-6))]
)
def test_norm_equals_torch(use, peer):
    norm = build(use)
    peer = peer.double()
    peer.load_state_dict(norm.state_dict())
    x = 3 + 5 * torch.randn(2, 7, WIDTH, dtype=torch.float64)
    torch.testing.assert_close(norm(x, Layout.dense(2, 7)), peer(x), rtol=1e-12, atol=1e-12)


def test_an_offset_moves_where_the_weight_starts():
    x, at = torch.randn(2, 7, WIDTH, dtype=torch.float64), Layout.dense(2, 7)
    norm, plain = (config("norms", {"use": "rms", **o}).build(WIDTH).double() for o in ({"offset": 1.0}, {}))
    assert not norm.weight.any() and torch.equal(norm(x, at), plain(x, at))
    plain.load_state_dict({"weight": 1 + norm.weight.data.normal_()})
    torch.testing.assert_close(norm(x, at), plain(x, at), rtol=1e-12, atol=1e-12)


def test_layer_without_bias_has_none():
    assert [n for n, _ in build("layer", bias=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize("form", ["dense", "packed", "padded"])
def test_group_equals_torch_on_each_sequence(form):
    norm, peer = build("group"), nn.GroupNorm(1, WIDTH, eps=1e-5).double()
    peer.load_state_dict(norm.state_dict())
    sizes = [5, 5] if form == "dense" else [5, 1, 3]
    xs = [3 + 5 * torch.randn(n, WIDTH, dtype=torch.float64) for n in sizes]
    x, at = pack(xs) if form == "packed" else pad(xs)
    got = at.to_rows(norm(x, at))
    for x, y in zip(xs, got):
        torch.testing.assert_close(y[: len(x)], peer(x.T[None])[0].T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["dense", "packed", "padded"])
def test_timestep_is_the_group_norm_of_each_token_with_those_before(form):
    norm, peer = build("timestep", groups=3), nn.GroupNorm(3, WIDTH, eps=1e-5).double()
    peer.load_state_dict(norm.state_dict())
    xs = [3 + 5 * torch.randn(n, WIDTH, dtype=torch.float64) for n in ([5, 5] if form == "dense" else [5, 1, 3])]
    x, at = pack(xs) if form == "packed" else pad(xs)
    for own, y in zip(xs, at.to_rows(norm(x, at)), strict=True):
        want = torch.stack([peer(own[None, : t + 1].mT)[0, :, -1] for t in range(len(own))])
        torch.testing.assert_close(y[: len(own)], want, rtol=1e-11, atol=1e-11)


def test_timestep_keeps_the_statistics_of_a_long_far_off_stream():
    norm = config("norms", {"use": "timestep", "groups": 1}).build(WIDTH)
    x = 100 + torch.randn(1, 20_000, WIDTH)
    whole, (late, _) = norm(x, Layout.dense(1, 20_000)), norm.chunk(x, Layout.dense(1, 20_000), norm.start(1, x))
    last = (x[0, -1].double() - x.double().mean()) / x.double().std(correction=0)
    torch.testing.assert_close(whole[0, -1].double(), last, rtol=1e-4, atol=1e-4)
    assert torch.equal(whole, late)


@pytest.mark.parametrize("groups", [4, WIDTH])
def test_timestep_needs_groups_of_two_channels(groups):
    with pytest.raises(InputError, match="groups of at least 2 channels"):
        build("timestep", groups=groups)


def test_scale_gives_every_token_the_learned_length():
    norm, x = build("scale"), torch.randn(2, 7, WIDTH, dtype=torch.float64)
    y = norm(x, Layout.dense(2, 7))
    torch.testing.assert_close(y.norm(dim=-1), norm.g.abs().expand(2, 7))
    torch.testing.assert_close(torch.cosine_similarity(y, norm.g * x, dim=-1), torch.ones(2, 7, dtype=torch.float64))
    zero = torch.zeros(1, 1, WIDTH, dtype=torch.float64, requires_grad=True)
    norm(zero, Layout.dense(1, 1)).sum().backward()
    assert zero.grad.isfinite().all()


@pytest.mark.parametrize("use", ["layer", "rms", "group", "scale", "timestep"])
def test_statistics_are_wide_in_half_precision(use):
    """A token of 4096 equal numbers plus noise: sums in bfloat16 would be off by far more than one rounding."""
    norm = config("norms", use).build(4096)
    x = (1 + torch.randn(1, 3, 4096) / 4).to(torch.bfloat16)
    got = norm.to(torch.bfloat16)(x, Layout.dense(1, 3)).double()
    want = norm.double()(x.double(), Layout.dense(1, 3))
    assert ((got - want).abs().max() / want.abs().max()).item() < 2**-8


def test_only_the_group_norm_needs_all_tokens():
    known = {use: config("norms", use).part.pointwise for use in ("layer", "rms", "scale", "none", "group")}
    assert known == {"layer": True, "rms": True, "scale": True, "none": True, "group": False}
