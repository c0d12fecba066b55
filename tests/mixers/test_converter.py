"""The converter's matrix over the tokens is the one it says, and its polynomial is a damped Chebyshev series."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.mixers.converter import damping, unit
from panformer.ops.digraph import matrix

AT = Layout.dense(2, 11)


def _mixer(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "converter", **options}).build(8).double()


@torch.no_grad()
def test_is_its_equations():
    m, x = _mixer(order=3, damping="jackson", stride=2), torch.randn(2, 11, 8, dtype=torch.float64)
    turns = F.adaptive_avg_pool1d(unit(m.turns(x)), 6)
    u = matrix(turns, torch.ones(2, 11, dtype=torch.bool), 2)
    series = m.series.numpy() * np.array(damping("jackson", 3))
    f = torch.tensor(chebyshev.chebval(m.spectrum(x).mean(-1).numpy(), series))
    v = torch.complex(*m.value(x).chunk(2, -1))
    y = u.mH @ torch.diag_embed(torch.polar(torch.ones_like(f), f)) @ u @ v
    want = m.output(torch.cat([y.real, y.imag], -1))
    torch.testing.assert_close(m(x, AT), want, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_where_the_spectrum_is_flat_nothing_is_mixed():
    """f = 0 makes the matrix 1, whatever the rotations: o([w_r x, w_i x])."""
    m, x = _mixer(), torch.randn(2, 11, 8, dtype=torch.float64)
    m.series.zero_()
    torch.testing.assert_close(m(x, AT), m.output(m.value(x)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["none", "fejer", "jackson", "lanczos"])
def test_damping_leaves_the_first_term_and_falls(kind):
    d = damping(kind, 6)
    assert d[0] == pytest.approx(1) and len(d) == 7
    assert all(a >= b > 0 for a, b in zip(d, d[1:], strict=False)), d


def test_jackson_has_no_ripples():
    """The series of a step, cut after 40 terms: it overshoots by 9 hundredths of the step, damped by nothing."""
    points = np.cos(np.linspace(0, math.pi, 4001))
    over = {}
    for kind in ("none", "jackson"):
        k = np.arange(1, 41)
        series = np.concatenate([[0.5], 2 * np.sin(k * math.pi / 2) / (k * math.pi)])  # 1 for x > 0, else 0
        over[kind] = float(chebyshev.chebval(points, series * np.array(damping(kind, 40))).max() - 1)
    assert over["none"] > 0.05 and over["jackson"] < 1e-3, over
