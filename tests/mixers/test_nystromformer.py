"""Nyström attention from its formula, and its exact form."""

import pytest
import torch

from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.mixers.nystromformer import inverse

WIDTH, D = 8, torch.float64


def build(use, **options):
    torch.manual_seed(1)
    return config("mixers", {"use": use, **options}).build(WIDTH).double()


def test_without_landmarks_it_is_attention():
    part, peer = build("nystromformer", heads=2, bias=True), build("attention", heads=2, bias=True)
    peer.load_state_dict(part.state_dict())
    x, at = pack([torch.randn(n, WIDTH, dtype=D) for n in (9, 1, 4)])
    torch.testing.assert_close(part(x, at), peer(x, at))


def test_landmarks_are_means_of_segments():
    part, lengths, marks = build("nystromformer", heads=1, landmarks=3), (7, 6, 2), 3
    xs = [torch.randn(n, WIDTH, dtype=D) for n in lengths]
    outs = []
    for x in xs:
        q, k, v = part.q(x) * WIDTH**-0.5, part.k(x), part.v(x)
        n, m = len(x), min(marks, len(x))
        owner = [t * m // n for t in range(n)]
        qm, km = (torch.stack([y[[t for t in range(n) if owner[t] == s]].mean(0) for s in range(m)]) for y in (q, k))
        between = inverse((qm @ km.T).softmax(-1)[None, None])[0, 0]
        outs.append(part.o((q @ km.T).softmax(-1) @ between @ (qm @ k.T).softmax(-1) @ v))
    x, at = pack(xs)
    torch.testing.assert_close(part(x, at)[0], torch.cat(outs))


def test_segments_of_one_length_are_as_any_others():
    part, (x, at) = build("nystromformer", heads=2, landmarks=3), pack([torch.randn(6, WIDTH, dtype=D)] * 2)
    torch.testing.assert_close(part(x[:, :6], Layout.dense(1, 6)), part(x, at)[:, 6:])


def test_the_iteration_inverts():
    a = (torch.eye(6, dtype=D) * 4 + torch.rand(2, 3, 6, 6, dtype=D)).softmax(-1)
    torch.testing.assert_close(inverse(a), torch.linalg.inv(a), rtol=1e-6, atol=1e-6)


def test_is_that_of_transformers():
    name = "transformers.models.nystromformer.modeling_nystromformer"
    public = pytest.importorskip(name, reason="transformers is not installed")
    sizes = {"hidden_size": WIDTH, "num_attention_heads": 2, "num_landmarks": 3, "segment_means_seq_len": 12}
    theirs = public.NystromformerSelfAttention(public.NystromformerConfig(conv_kernel_size=3, **sizes)).double().eval()
    ours = build("nystromformer", heads=2, landmarks=3, conv=3, bias=True)
    for one, other in (("q", "query"), ("k", "key"), ("v", "value")):
        getattr(ours, one).load_state_dict(getattr(theirs, other).state_dict())
    with torch.no_grad():
        ours.kernel.copy_(theirs.conv.weight.view(ours.kernel.shape))
        torch.nn.init.eye_(ours.o.weight)  # theirs ends before that map
        torch.nn.init.zeros_(ours.o.bias)
    x = torch.randn(1, 12, WIDTH, dtype=D)  # of several rows theirs would start the inverse of all at the largest sum
    torch.testing.assert_close(ours(x, Layout.dense(1, 12)), theirs(x)[0], rtol=1e-5, atol=1e-6)  # their unit is fp32
