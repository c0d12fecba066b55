"""Hopfield association: one update is attention, many lead to a fixed point; its energy, memory and pooling."""

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import hopfield as facts
from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.ops import hopfield as network

WIDTH, D = 8, torch.float64


def build(family, use, *dims, **options):
    torch.manual_seed(1)
    return config(family, {"use": use, "heads": 2, **options}).build(WIDTH, *dims).double()


def test_one_update_is_attention():
    assert judges.difference(*facts.attention(0)) < 1e-12
    assert judges.difference(*facts.attention(0, steps=2)) > 1e-2


def test_many_updates_end_in_a_fixed_point():
    x, at = torch.randn(1, 6, WIDTH, dtype=D), Layout.dense(1, 6)
    late, later = (build("mixers", "hopfield", beta=4.0, steps=n)(x, at) for n in (400, 401))
    torch.testing.assert_close(late, later, rtol=0, atol=1e-9)
    assert not torch.allclose(build("mixers", "hopfield", beta=4.0)(x, at), late)


@pytest.mark.parametrize("beta", [0.2, 1.0, 5.0])
def test_the_energy_falls_and_stays_within_its_bounds(beta):
    assert facts.energy_rise(0, beta=beta) < 1e-12
    assert facts.energy_rise(0, beta=beta, stride=3.0) > 1
    stored = torch.randn(20, 6, dtype=D)
    xi = network.update(torch.randn(9, 6, dtype=D), stored, beta)  # within the hull of the patterns
    value = network.energy(xi, stored, beta)
    assert (value >= -1e-12).all() and (value <= 2 * stored.square().sum(-1).max()).all()


def test_the_update_is_a_step_down_the_energy():
    stored, xi = torch.randn(20, 6, dtype=D), torch.randn(9, 6, dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(network.energy(xi, stored, 0.7).sum(), xi)
    torch.testing.assert_close(xi - slope, network.update(xi, stored, 0.7))


def test_fixed_points_average_all_then_some_then_one():
    assert [round(facts.averaged(0, beta)) for beta in (1, 9, 100)] == [32, 8, 1]


def test_one_update_retrieves_and_errs_as_the_theory_says():
    assert facts.retrieved(0, sizes=(8, 12)) == 1 and facts.retrieved(0, sizes=(8, 12), radius=0.5) < 0.5
    assert -1.1 < facts.error_rate(0, "separation") < -0.8 < -0.5 < facts.error_rate(0, "separation", apart=False)
    assert facts.error_over_bound(0) <= 1 < facts.error_over_bound(0, slack=1e3)


def test_prototypes_are_attention_to_learned_patterns():
    part = build("channels", "prototypes", patterns=5, steps=2)
    x = torch.randn(1, 4, WIDTH, dtype=D)
    xi = part.q(x).unflatten(2, (2, 4)).transpose(1, 2)
    xi = (xi @ part.stored.mT / 2).softmax(-1) @ part.stored
    y = (xi @ part.stored.mT / 2).softmax(-1) @ part.values
    torch.testing.assert_close(part(x, Layout.dense(1, 4)), part.o(y.transpose(1, 2).flatten(2)))


def test_pooling_reads_every_sequence_alone_whatever_its_order():
    part = build("reducers", "hopfield_pool", WIDTH, queries=2)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (5, 1, 7)]
    y, at = part(*pack(xs))
    assert at.batch == at.sequences == 3 and at.length == 2
    for one, got in zip(xs, y, strict=True):
        h = part.norm(one[None], Layout.dense(1, len(one)))[0]
        k, v = (m(h).unflatten(1, (2, 4)).transpose(0, 1) for m in (part.k, part.v))
        want = (part.queries @ k.mT / 2).softmax(-1) @ v
        torch.testing.assert_close(got, part.o(want.transpose(0, 1).flatten(1)))
        torch.testing.assert_close(part(one.flip(0)[None], Layout.dense(1, len(one)))[0][0], got)
