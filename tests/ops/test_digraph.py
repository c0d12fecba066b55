"""The unitary convolution: scans equal the dense matrix, which is unitary and has the eigenvalues it is given."""

import pytest
import torch
from torch.autograd import gradcheck

from panformer.claims import judges
from panformer.claims.facts import digraphs
from panformer.ops.digraph import matrix, reference
from panformer.ops.kernels.digraph_scans import order, rotations, run


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_the_matrix_is_unitary(stride):
    u, one = digraphs.unitary(0, stride)
    assert (u - one).abs().max() < 1e-12
    assert judges.difference(*digraphs.unitary(0, stride, whole=False)) > 1e-2


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 2, 3, 33])
def test_scans_equal_the_matrix(stride, length):
    assert judges.difference(*digraphs.scans(0, stride, length=length)) < 1e-12


def test_eigenvalues_are_those_it_is_given():
    assert judges.difference(*digraphs.spectrum(0)) < 1e-10
    assert judges.difference(*digraphs.spectrum(0, made=False)) > 1e-3


def test_factors_are_hessenberg():
    """H_u P of P = I has nothing below its first subdiagonal, H_l nothing above its first superdiagonal."""
    turns, real = torch.randn(1, 7, 6, dtype=torch.float64), torch.ones(1, 7, dtype=torch.bool)
    upper, lower = turns.clone(), turns.clone()
    upper[..., :3], lower[..., 3:] = 0, 0
    assert matrix(upper, real, 1).tril(-2).abs().max() == 0 and matrix(lower, real, 1).triu(2).abs().max() == 0
    assert matrix(upper, real, 1).triu(2).abs().max() > 1e-3, "and it is no band of three diagonals"


def test_a_diagonal_of_phases_would_change_nothing():
    """(D U)' F (D U) = U' F U for any diagonal F, which is why it is left out."""
    _, turns, f, real = digraphs._random(0, 9)
    u, d = matrix(turns, real, 1), torch.polar(torch.ones_like(f), 3 * f)
    mid = torch.polar(torch.ones_like(f), f)[..., None]
    torch.testing.assert_close((d[..., None] * u).mH @ (mid * d[..., None] * u), u.mH @ (mid * u))


def test_short_rows_turn_only_what_is_real():
    values, turns, f, real = digraphs._random(0, 9)
    real = real & (torch.arange(9) < torch.tensor([[9], [4]]))
    for form in (run, reference):
        full = form(*values, turns, f, real, 2)
        alone = form(*(z[1:, :4] for z in (*values, turns, f)), real[1:, :4], 2)
        torch.testing.assert_close(full[0][1:, :4], alone[0], rtol=0, atol=1e-12)
    assert order(real, 2).tolist() == [[0, 2, 4, 6, 8, 1, 3, 5, 7], [0, 2, 1, 3, 4, 5, 6, 7, 8]]
    assert all((g[1, 3:] == (1 if name in ("ii", "jj") else 0)).all()
               for r in rotations(turns, real) for name, g in r._asdict().items())  # fmt: skip


@pytest.mark.parametrize("form", [run, reference])
def test_gradients(form):
    (re, im), turns, f, real = digraphs._random(0, 5)
    args = [z.requires_grad_() for z in (re, im, turns, f)]
    assert gradcheck(lambda *z: form(*z, real, 2), args)


def test_it_keeps_lengths():
    values, turns, f, real = digraphs._random(0, 20)
    y = torch.complex(*run(*values, turns, f, real, 3))
    torch.testing.assert_close(y.norm(dim=1), torch.complex(*values).norm(dim=1))
