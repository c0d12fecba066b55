"""PoNet equals a loop written from the paper's equations."""

import math

import torch

from panformer.core.layout import Layout, pack
from panformer.core.part import config

WIDTH, HEADS, SEGMENT, LOCAL = 8, 2, 3, 3


def _mixer():
    torch.manual_seed(0)
    options = {"use": "ponet", "heads": HEADS, "segment": SEGMENT, "local": LOCAL}
    m = config("mixers", options).build(WIDTH).double()
    for p in m.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return m


def _loop(m, x):
    """One sequence (n, D), token by token."""
    n, size = len(x), WIDTH // HEADS
    hq, hk, hv, ho, hs, hl = (f(x) for f in (m.q, m.k, m.v, m.h, m.s, m.l))
    g = sum(hq) / n
    whole = torch.zeros(WIDTH, dtype=x.dtype)
    for head in range(HEADS):
        cut = slice(head * size, (head + 1) * size)
        logit = [(g[cut] @ hk[j, cut] / math.sqrt(size)).exp() for j in range(n)]
        whole[cut] = sum(w / sum(logit) * hv[j, cut] for j, w in enumerate(logit))
    out = []
    for i in range(n):
        begin = i // SEGMENT * SEGMENT
        s = torch.stack([hs[j] for j in range(begin, min(n, begin + SEGMENT))]).amax(0)
        near = torch.stack([hl[j] for j in range(max(0, i - LOCAL // 2), min(n, i + LOCAL // 2 + 1))]).amax(0)
        out.append(m.o(whole * ho[i] + s * ho[i] + near))
    return torch.stack(out)


def test_equals_the_equations():
    m = _mixer()
    x = torch.randn(2, 11, WIDTH, dtype=torch.float64)
    y = m(x, Layout.dense(2, 11))
    for i in range(2):
        torch.testing.assert_close(y[i], _loop(m, x[i]))


def test_equals_the_equations_when_packed():
    m, lengths = _mixer(), [4, 1, 7, 3]
    xs = [torch.randn(n, WIDTH, dtype=torch.float64) for n in lengths]
    x, at = pack(xs)
    for one, y in zip(xs, m(x, at)[0].split(lengths), strict=True):
        torch.testing.assert_close(y, _loop(m, one))


def test_each_scale_reaches_as_far_as_it_should():
    """Token 7 of 12: its segment is 6 7 8, its neighbours 6 7 8 too, so window 5 tells them apart."""
    x = torch.randn(1, 12, WIDTH, dtype=torch.float64, requires_grad=True)
    for kept, reach in (("qkv", set(range(12))), ("s", {6, 7, 8}), ("l", {5, 6, 7, 8, 9})):
        m = _mixer()
        m.local = 5
        with torch.no_grad():
            for p in [p for n in "qkvsl" if n not in kept for p in getattr(m, n).parameters()]:
                p.zero_()
        seen = set()
        for shift in range(20):  # a maximum has one winner per channel: several inputs show all that may win
            z = (x.roll(shift, 2) * (1 + shift)).sin()
            (g,) = torch.autograd.grad(m(z, Layout.dense(1, 12))[0, 7].sum(), z)
            seen |= set(g[0].abs().amax(1).nonzero()[:, 0].tolist())
        assert seen == reach, kept
