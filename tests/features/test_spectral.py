"""Feature maps from frequencies, mirrors and codes: their formulas, what is drawn, and a public implementation."""

import math

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import codes, spectral
from panformer.core.errors import InputError
from panformer.core.part import config
from panformer.features._codes import lift
from panformer.ops.spectral import hadamard, orthogonal

IDENTITIES = {
    "mixture": (lambda **o: spectral.mixture(0, **o), {"centred": False}),
    "mixture of waves": (lambda **o: spectral.mixture(0, "waves", **o), {"centred": False}),
    "fastfood": (lambda **o: spectral.fastfood(0, **o), {"shuffled": False}),
    "mirror": (lambda **o: spectral.mirror(0, **o), {"mirrored": False}),
    "codes": (lambda **o: codes.associative(0, {"use": "hashed", "bits": 5}, **o), {"added": "own"}),
    "causal codes": (lambda **o: codes.associative(0, {"use": "binary"}, causal=True, **o), {"added": "own"}),
}


def build(use, heads=2, size=4, **options):
    torch.manual_seed(0)
    return config("features", {"use": use, **options}).build(heads, size).double()


def values(seed=0, size=4):
    return torch.randn(3, 2, 11, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-12
    assert judges.difference(*fact(**control)) > 1e-4


@pytest.mark.parametrize("form", ["positive", "waves"])
def test_error_falls_with_the_root_of_the_count(form):
    assert -0.7 < spectral.rate(0, form, draws=30) < -0.3 < spectral.rate(0, form, distinct=False, draws=30)


def test_frequencies_are_at_right_angles_and_as_long_as_gaussian_ones():
    torch.manual_seed(0)
    w = orthogonal(2000, 8)
    first = w[:8] @ w[:8].mT
    torch.testing.assert_close(first, first.diagonal().diag(), atol=1e-4, rtol=0)
    assert abs(w.square().sum(1).mean() - 8) < 0.3 and w.mean(0).abs().max() < 0.1


def test_hadamard_is_its_matrix():
    h = hadamard(torch.eye(8))
    assert torch.equal(h @ h.mT, 8 * torch.eye(8)) and set(h.unique().tolist()) == {-1, 1}


@pytest.mark.parametrize(("size", "n"), [(1, 1), (5, 8), (8, 8)])
def test_fastfood_takes_any_width(size, n):
    feature = build("fastfood", size=size, blocks=3)
    w = feature.frequencies(size)
    assert w.shape == (2, 3 * n, size) and feature.size == 3 * n
    if size == n:  # at the start every row is as long as its entry of S says
        torch.testing.assert_close(w.norm(dim=-1), (feature.s * feature.g.norm(dim=-1, keepdim=True)).flatten(1))


def test_what_is_drawn_is_saved_and_comes_from_the_seed():
    for use, name in (("random", "w"), ("mixture", "noise"), ("fastfood", "order"), ("hashed", "support")):
        one, two = build(use), build(use)
        assert name in one.state_dict() and torch.equal(getattr(one, name), getattr(two, name))


def test_random_features_equal_performers():
    pytest.importorskip("performer_pytorch", reason="performer-pytorch is not installed")
    from panformer.claims.peers.features import performer

    assert judges.difference(*performer(0)) < 1e-12


def test_hedgehog_is_a_softmax_over_a_map_and_its_mirror_image():
    feature, q, k = build("hedgehog", count=3), values(0), values(1)
    with torch.no_grad():
        for p in feature.parameters():
            p.normal_()
    for i, (x, phi) in enumerate(zip((q, k), feature(q, k), strict=True)):
        for h in range(2):
            y = x[:, h] @ feature.w[i, h] + feature.b[i, h]
            torch.testing.assert_close(phi[:, h], torch.cat([y, -y], -1).softmax(-1))


def test_codes_are_the_kernels_signs_and_weights_stay_above_0():
    feature, q, k = build("hashed", bits=7, samples=5).eval(), values(0), values(1)
    apart = torch.cdist(q.transpose(0, 1).flatten(1, 2), feature.support).square().unflatten(1, (3, 11)).transpose(0, 1)
    near = (-apart / 2 / feature.width[:, None, None]).exp()
    code = torch.where(torch.einsum("bhtm,hmc->bhtc", near - feature.mean[:, None], feature.a) > 0, 1.0, -1.0).double()
    phi_q, phi_k = feature(q, k)
    assert torch.equal(phi_q[..., :-1], code)
    weight = phi_q @ phi_k.mT
    assert weight.min() >= 1 and torch.equal(weight, weight.round())


def test_the_lift_is_the_power_of_2_above():
    assert [lift(b) for b in (1, 3, 4, 7, 8, 16)] == [2, 4, 8, 8, 16, 32]


def test_a_sign_lets_gradients_through_in_training_alone():
    feature, x = build("binary"), values().requires_grad_()
    phi, _ = feature.train()(x, x)
    (slope,) = torch.autograd.grad(phi[..., :-1].sum(), x)
    assert torch.equal(slope, (x.abs() <= 1).double())
    assert not feature.eval()(x, x)[0].requires_grad


def test_counts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not divide into 3 components"):
        build("mixture", count=8, components=3)


def test_a_longer_query_is_spikier_where_other_maps_cancel_its_length():
    q, k = values(0)[:, :, :1], values(1)
    entropy = {}
    for use in ("norm_aware", "relu_without_its_constant"):
        for length in (0.2, 1.0, 5.0):
            one, other = build("norm_aware")(length * q, k) if use == "norm_aware" else ((length * q).relu(), k.relu())
            weight = (one @ other.mT).clamp_min(1e-12)
            weight = weight / weight.sum(-1, keepdim=True)
            entropy[use, length] = -(weight * weight.log()).sum(-1).mean()
    assert entropy["norm_aware", 0.2] > entropy["norm_aware", 1.0] > entropy["norm_aware", 5.0]
    plain = [entropy["relu_without_its_constant", n] for n in (0.2, 1.0, 5.0)]
    assert max(plain) - min(plain) < 1e-6


def test_norm_aware_weights_by_hand():
    feature, q, k = build("norm_aware", power=2.0), values(0), values(1)
    one, other = feature(q, k)
    i, j = q[1, 1, 3], k[1, 1, 7]
    power = 2 * (0.5 + math.tanh(i.norm()))
    pairs = [abs(a / i.norm()) ** power * b**2 for a, b in zip(i, j, strict=True) if a * b > 0]
    torch.testing.assert_close(one[1, 1, 3] @ other[1, 1, 7], sum(pairs))
    assert (one @ other.mT).min() >= 0 and feature(0 * q, k)[0].isfinite().all()
