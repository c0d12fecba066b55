"""Attention to a fixed point: one look is attention, it settles, its gradient, and who stops when."""

import torch

from panformer.claims import judges
from panformer.claims.facts import fixed_point as facts
from panformer.claims.facts import limits
from panformer.core.layout import Layout, pad
from panformer.core.part import config

D = torch.float64


def build(**options):
    torch.manual_seed(0)
    return config("mixers", {"use": "fixed_point", "heads": 2, **options}).build(16).double()


def test_one_look_is_attention():
    assert judges.difference(*limits.attention(0, {"use": "fixed_point", "steps": 1})) < 1e-12
    assert judges.difference(*limits.attention(0, {"use": "fixed_point", "steps": 2})) > 1e-3


def test_it_settles_where_another_look_changes_nothing():
    for seed in range(3):
        assert judges.difference(*facts.settled(seed)) < 1e-10
        assert judges.difference(*facts.settled(seed, steps=2)) > 1e-4


def test_the_gradient_through_all_looks_is_that_of_the_implicit_function():
    for seed in range(3):
        assert judges.difference(*facts.gradient(seed)) < 1e-9
        assert judges.difference(*facts.gradient(seed, steps=1)) > 1e-4


def test_the_gradient_is_that_of_the_loop_written_out():
    part, at = build(steps=4, tolerance=0.0), Layout.dense(1, 7)
    x = torch.randn(1, 7, 16, dtype=D, requires_grad=True)
    z = x
    for _ in range(4):
        z = part.look(z, x, at)
    leaves = [x, *part.parameters()]
    for a, b in zip(*(torch.autograd.grad(y.sin().sum(), leaves) for y in (z, part(x, at))), strict=True):
        torch.testing.assert_close(a, b)


def test_each_sequence_stops_by_itself():
    part = build(steps=50, tolerance=1e-6)
    xs = [s * torch.randn(n, 16, dtype=D) for n, s in ((9, 4.0), (5, 0.1), (1, 1.0))]
    alone = [part.solve(x[None], Layout.dense(1, len(x))) for x in xs]
    out, looks = part.solve(*pad(xs))
    assert looks.tolist() == [int(n) for _, n in alone]
    assert len(set(looks.tolist())) > 1, "the sequences were meant to need different numbers of looks"
    assert looks[2] == 2, "a single token looks at itself alone, whatever it reads"
    for i, (y, _) in enumerate(alone):
        torch.testing.assert_close(out[i, : len(xs[i])], y[0])
