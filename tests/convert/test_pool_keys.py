"""Pooled keys and values are the means of those they replace; all else stays."""

import pytest
import torch

import panformer
from panformer.convert.pool_keys import pool_keys
from panformer.core.errors import InputError

HEADS = {"use": "attention", "heads": 4, "head_width": 4, "bias": True, "qk_norm": "rms"}
ENDS = {"width": 8, "causal": True, "embed": {"use": "tokens", "vocab": 11}, "position": "rope"}
FULL = {**ENDS, "schedule": [{"repeat": 3, "mixer": HEADS, "channel": "mlp"}]}
FEW = {**HEADS, "kv_heads": 2}
SMALL = {
    **ENDS,
    "schedule": [
        {"name": "a", "mixer": FEW, "channel": "mlp"},
        {"repeat": 2, "mixer": FEW, "channel": "mlp", "reads": {"kv": "a"}},
    ],
}


def test_every_map_is_the_mean_of_what_it_replaces():
    model = panformer.build(FULL, seed=0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    old, new = model.state_dict(), pool_keys(model, SMALL).state_dict()
    layers = [f"trunk.layers.{i}.mixer." for i in range(3)]
    for name in ("k.weight", "k.bias", "v.weight", "v.bias"):
        heads = sum(old[layer + name] for layer in layers).unflatten(0, (4, 4)) / 3
        want = torch.cat([(heads[0] + heads[1]) / 2, (heads[2] + heads[3]) / 2])
        torch.testing.assert_close(new[layers[0] + name], want)
    norms = [old[layer + "k_norm.weight"] for layer in layers]
    torch.testing.assert_close(new[layers[0] + "k_norm.weight"], sum(norms) / 3)
    rest = [n for n in new if not n.startswith((layers[0] + "k", layers[0] + "v"))]
    assert len(rest) > 30 and all(torch.equal(new[n], old[n]) for n in rest)


def test_the_same_spec_gives_the_same_model():
    model, x = panformer.build(FULL, seed=0), torch.arange(10)[None]
    assert torch.equal(pool_keys(model, FULL)(x), model(x))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (SMALL, FULL, "share keys and values already"),
        (FULL, {**FULL, "schedule": [{"repeat": 2, "mixer": HEADS}]}, "3 layers cannot become 2"),
        (FULL, {**FULL, "schedule": [{"repeat": 3, "mixer": {**HEADS, "head_width": 2}, "channel": "mlp"}]}, "shape"),
        ({**FULL, "schedule": [{"repeat": 3, "mixer": FEW, "channel": "mlp"}]}, FULL, "k.weight of shape"),
    ],
)
def test_what_cannot_be_pooled_is_refused(old, new, says):
    with pytest.raises(InputError, match=says):
        pool_keys(panformer.build(old), new)


def test_what_a_new_part_counts_begins_anew():
    dealt = {"use": "dealt_attention", "heads": 4, "kv_heads": 2, "head_width": 4, "bias": True, "deal": "difference"}
    spec = {**FULL, "causal": False, "schedule": [{"repeat": 3, "mixer": dealt, "channel": "mlp"}]}
    heads = {k: v for k, v in HEADS.items() if k != "qk_norm"}
    model = panformer.build({**spec, "schedule": [{"repeat": 3, "mixer": heads, "channel": "mlp"}]}, seed=0)
    even = {**spec, "schedule": [{"repeat": 3, "mixer": {**heads, "kv_heads": 2}, "channel": "mlp"}]}
    x = torch.arange(10)[None]
    torch.testing.assert_close(pool_keys(model, spec)(x), pool_keys(model, even)(x))
