"""Experts at random: who answers, that all do, and that draws are functions of the place."""

import pytest
import torch

from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config
from panformer.core.shared import Shared
from panformer.ops.draws import choice, mix

WIDTH = 6


def build(seed=0, **options):
    torch.manual_seed(seed)
    return config("channels", {"use": "random_experts", "hidden": 5, **options}).build(WIDTH).double().eval()


def draw(*shape):
    return torch.randn(*shape, WIDTH, dtype=torch.float64)


def answers(part, x):
    """(experts, B, T, D): what each expert would say."""
    return torch.stack([part.act(x @ up.T) @ down.T for up, down in zip(part.up, part.down)])


def test_mix_is_a_bijection_that_stays_below_2_to_32():
    x = torch.arange(2**16)
    for start in (0, 2**31, 2**32 - 2**16):
        y = mix(x + start)
        assert y.unique().numel() == 2**16
        assert 0 <= y.min() and y.max() < 2**32


@pytest.mark.parametrize("grid", [False, True])
def test_choices_are_uniform_and_layers_are_independent(grid):
    pos = torch.cartesian_prod(torch.arange(100), torch.arange(100)) if grid else torch.arange(10_000)[:, None]
    one, two = (choice(pos, torch.tensor(salt), 4) for salt in (123_456_789, 987_654_321))
    pairs = torch.bincount(4 * one + two, minlength=16).double()
    assert ((pairs - 625).square() / 625).sum() < 37.7, "chi-squared with 15 degrees of freedom, 0.1 %"
    following = torch.bincount(4 * one[:-1] + one[1:], minlength=16).double()
    assert ((following - 625).square() / 625).sum() < 37.7


def test_one_expert_is_the_mlp():
    part, x, at = build(experts=1), draw(2, 7), Layout.dense(2, 7)
    mlp = config("channels", {"use": "mlp", "hidden": 5, "bias": False}).build(WIDTH).double()
    mlp.load_state_dict({"up.weight": part.up[0], "down.weight": part.down[0]})
    for mode in (True, False):
        torch.testing.assert_close(part.train(mode)(x, at), mlp(x, at), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_every_token_is_answered_by_exactly_one_expert_unweighted(training):
    part, x, shared = build(experts=4).train(training), draw(3, 50), Shared()
    off = (part(x, Layout.dense(3, 50), shared) - answers(part, x)).abs().amax(-1)
    assert (off.amin(0) < 1e-12).all(), "a token was dropped or weighted"
    load = torch.bincount(off.argmin(0).flatten(), minlength=4)
    assert torch.equal(shared.stats["expert_load"], load)
    assert load.sum() == 150 and load.min() > 10
    assert not shared.losses


def test_training_draws_anew_and_use_does_not():
    part, x, at = build(experts=4), draw(1, 40), Layout.dense(1, 40)
    assert torch.equal(part(x, at), part(x, at))
    torch.manual_seed(3)
    one, two = part.train()(x, at), part(x, at)
    torch.manual_seed(3)
    assert not torch.equal(one, two)
    assert torch.equal(one, part(x, at)), "draws in training must come from torch's generator alone"


def test_two_rows_of_a_training_batch_have_draws_of_their_own():
    """Both passes of the consistency loss are rows of one batch."""
    part, x = build(experts=2).train(), draw(1, 60).repeat(2, 1, 1)
    y = part(x, Layout.dense(2, 60))
    same = (y[0] == y[1]).all(-1).double().mean()
    assert 0.2 < same < 0.8


@pytest.mark.parametrize("form", [pack, pad])
def test_a_sequence_keeps_its_expert_in_training(form):
    part = build(experts=2, per="sequence").train()
    x, at = form([draw(n) for n in (5, 1, 7, 4, 6, 3, 8, 2)])
    off, who = (part(x, at) - answers(part, x)).abs().amax(-1).min(0)
    assert (off[at.valid] < 1e-12).all()
    used = [set(who[at.ordinal == i].tolist()) for i in range(at.sequences)]
    assert all(len(one) == 1 for one in used), used
    assert set.union(*used) == {0, 1}


def test_another_salt_is_another_draw_and_is_saved():
    part, x, at = build(experts=4), draw(1, 40), Layout.dense(1, 40)
    before = part(x, at)
    part.redraw(torch.Generator().manual_seed(8))
    after = part(x, at)
    assert not torch.equal(before, after)
    other = build(seed=5, experts=4)
    other.load_state_dict(part.state_dict())
    assert torch.equal(other(x, at), after)


def test_layers_of_one_model_have_salts_of_their_own():
    torch.manual_seed(0)
    c = config("channels", {"use": "random_experts"})
    assert c.build(WIDTH).salt != c.build(WIDTH).salt


@pytest.mark.parametrize("training", [True, False])
def test_padding_does_not_count(training):
    part, xs = build(experts=3).train(training), [draw(9), draw(4)]
    loads = []
    for form in (pack, pad):
        x, at = form(xs)
        shared = Shared()
        x[~at.valid] = torch.nan
        y = part(x, at, shared)
        assert not y[~at.valid].any()
        loads.append(shared.stats["expert_load"])
        assert loads[-1].sum() == 13
    assert training or torch.equal(*loads)
