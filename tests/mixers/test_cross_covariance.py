"""Cross-covariance attention and its local mixing against timm, and channel by channel from the formula."""

import pytest
import torch

from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.mixers import cross_covariance
from panformer.ops.lattice import with_first

WIDTH, D = 8, torch.float64


def build(use, **options):
    torch.manual_seed(1)
    return config("mixers", {"use": use, **options}).build(WIDTH).double().eval()


def test_channels_are_means_of_channels():
    part = build("cross_covariance", heads=2, bias=True)
    part.tau.data = torch.tensor([0.7, 3.0], dtype=D)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (9, 2, 4)]
    outs = []
    for x in xs:
        q, k, v = part.q(x), part.k(x), part.v(x)
        y = torch.zeros_like(v)
        for channel in range(WIDTH):
            head = channel // 4
            own = range(4 * head, 4 * head + 4)
            cosine = [torch.cosine_similarity(q[:, channel], k[:, e], dim=0) * part.tau[head] for e in own]
            y[:, channel] = v[:, own] @ torch.stack(cosine).softmax(0)
        outs.append(part.o(y))
    x, at = pack(xs)
    torch.testing.assert_close(part(x, at)[0], torch.cat(outs))


def test_is_that_of_timm():
    peer = pytest.importorskip("timm.models.xcit", exc_type=ImportError).XCA(WIDTH, 2, qkv_bias=True).double().eval()
    part, x = build("cross_covariance", heads=2, bias=True), torch.randn(3, 11, WIDTH, dtype=D)
    peer.temperature.data = torch.tensor([0.6, 2.0], dtype=D).view(2, 1, 1)
    part.tau.data = peer.temperature.data.flatten()
    for i, name in enumerate("qkv"):
        rows = slice(i * WIDTH, (i + 1) * WIDTH)
        fused = {"weight": peer.qkv.weight[rows], "bias": peer.qkv.bias[rows]}
        getattr(part, name).load_state_dict(fused)
    part.o.load_state_dict(peer.proj.state_dict())
    torch.testing.assert_close(part(x, Layout.dense(3, 11)), peer(x))


def test_local_mixing_is_that_of_timm():
    peer = pytest.importorskip("timm.models.xcit", exc_type=ImportError).LPI(WIDTH).double()
    part, x = build("local_patch"), torch.randn(4, 15, WIDTH, dtype=D)
    for ours, theirs in (("first", "conv1"), ("second", "conv2"), ("norm", "bn")):
        getattr(part, ours).load_state_dict(getattr(peer, theirs).state_dict())
    for training in (True, False):  # the first call moves the statistics that the second reads
        got = part.train(training)(x, Layout.lattice(4, (3, 5)))
        torch.testing.assert_close(got, peer.train(training)(x, 3, 5))


def test_tokens_before_the_lattice_are_left_alone():

    part, x = build("local_patch"), torch.randn(2, 13, WIDTH, dtype=D)
    at = Layout.lattice(2, (3, 4))
    y = part(x, with_first(at, 1))
    assert (y[:, 0] == 0).all()
    torch.testing.assert_close(y[:, 1:], part(x[:, 1:], at))


def test_pieces_of_a_sequence_are_the_sequence(monkeypatch):
    mixer, x = build("cross_covariance", heads=2), torch.randn(2, 11, WIDTH, dtype=D, requires_grad=True)
    whole = mixer(x, Layout.dense(2, 11))
    (slope,) = torch.autograd.grad(whole.sin().sum(), x)
    monkeypatch.setattr(cross_covariance, "PIECE", 4)
    pieces = mixer(x, Layout.dense(2, 11))
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(torch.autograd.grad(pieces.sin().sum(), x)[0], slope)


def test_long_columns_of_half_precision_do_not_overflow():
    mixer, at = build("cross_covariance", heads=2), Layout.dense(1, 2 * cross_covariance.PIECE)
    x = 50 * torch.randn(1, 1, WIDTH, dtype=D) + torch.randn(1, at.length, WIDTH, dtype=D)
    want, got = mixer(x, at), mixer.half()(x.half(), at).double()
    assert (got - want).norm() < 5e-3 * want.norm()
