"""Branches side by side, and the stem that keeps patches apart, against torch's own modules."""

import pytest
import torch
from torch import nn

from panformer.claims.facts import stems
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.model.build import build

D = torch.float64
HMLP = {"use": "nested_patches", "merge": [2, 2], "channels": 3}


def test_branches_are_one_wider_part():
    for got, want in zip(*stems.wider(0), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    for got, want in zip(*stems.wider(0, parallel=False), strict=True):
        assert (got - want).abs().max() > 1e-3


def drawn(module):
    torch.manual_seed(1)
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.4)
    return module.double().eval()


def take(mine, theirs, norm, attention):
    """The weights of torch's branch, with those of its own norm multiplied into its first map."""
    if attention:
        first = zip((mine.q, mine.k, mine.v), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True)
        last = (mine.o, theirs.out_proj)
    else:
        first, last = [(mine.up, theirs[0].weight, theirs[0].bias)], (mine.down, theirs[2])
    for own, weight, bias in first:
        own.weight.copy_(weight * norm.weight)
        own.bias.copy_(bias + weight @ norm.bias)
    last[0].load_state_dict(last[1].state_dict())


def test_a_layer_is_the_paper_s_block_with_a_norm_for_each_branch():
    """x + sum_i A_i(norm_i(x)), then x + sum_i M_i(norm_i(x))."""
    attentions = drawn(nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2)))
    mlps = drawn(nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(2)))
    norms = drawn(nn.ModuleList(nn.LayerNorm(8) for _ in range(4)))
    layer = {
        "mixer": {"use": "branches", "mixer": {"use": "attention", "heads": 2, "bias": True}},
        "channel": {"use": "branches", "channel": {"use": "mlp", "hidden": 16}},
    }
    spec = {"width": 8, "norm": {"use": "layer", "eps": 1e-5}, "embed": {"use": "patches", "size": 1, "channels": 1}}
    ours = build({**spec, "schedule": [layer]}, seed=0).double().eval().trunk.layers[0]
    x = torch.randn(2, 9, 8, dtype=D)
    with torch.no_grad():
        for i in range(2):
            take(ours.mixer.each[i], attentions[i], norms[i], True)
            take(ours.channel.each[i], mlps[i], norms[2 + i], False)
        views = [norm(x) for norm in norms[:2]]
        want = x + sum(a(v, v, v, need_weights=False)[0] for a, v in zip(attentions, views, strict=True))
        want = want + sum(m(norm(want)) for m, norm in zip(mlps, norms[2:], strict=True))
        torch.testing.assert_close(ours(x, Layout.lattice(2, (3, 3)), None), want)


def test_branches_refuse_what_no_branch_is_given():
    with pytest.raises(InputError, match="looks ahead"):
        config("mixers", {"use": "branches", "mixer": "fourier", "causal": True}).build(8)
    with pytest.raises(InputError, match="no branch is given it"):
        config("mixers", {"use": "branches", "mixer": {"use": "cross_attention", "heads": 2}}).build(8)


@pytest.mark.parametrize("training", [False, True])
def test_stem_is_the_paper_s_in_torch_s_modules(training):
    def step(a, b):
        return [nn.Conv2d(a, b, 2, 2), nn.BatchNorm2d(b)]

    peer = drawn(nn.Sequential(*step(3, 2), nn.GELU(), *step(2, 8))).train(training)
    ours = config("embeds", HMLP).build(8).double().train(training)
    names = (("maps.0", "0"), ("norms.0.norm", "1"), ("maps.1", "3"), ("norms.1.norm", "4"))
    for mine, theirs in names:
        ours.get_submodule(mine).load_state_dict(peer.get_submodule(theirs).state_dict())
    raw = torch.randn(2, 3, 8, 12, dtype=D)
    x, at = ours(raw)
    assert at.grid == (2, 3)
    torch.testing.assert_close(x, peer(raw).flatten(2).mT)


@pytest.mark.parametrize("fact", [stems.leak, stems.hidden_before])
def test_patches_stay_apart(fact):
    got, want = fact(0, HMLP)
    torch.testing.assert_close(got, want, rtol=0, atol=0 if fact is stems.leak else 1e-13)
    got, want = fact(0, {"use": "patches", "size": 6, "stride": 4, "padding": 1, "channels": 3})
    assert (got - want).abs().max() > 1e-2


def test_stem_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="does not cut into patches of 4"):
        config("embeds", HMLP).build(8)(torch.zeros(1, 3, 6, 8))
    with pytest.raises(InputError, match="looks at other cells"):
        config("embeds", {**HMLP, "each": "group"}).build(8)
    with pytest.raises(InputError, match="positive sides"):
        config("embeds", {**HMLP, "merge": [2, 0]}).build(8)
