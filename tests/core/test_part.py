"""Parts by path, configs that refuse, and messages that name what was wrong and what is known."""

import json

import pytest
from pydantic import Field

from panformer.core.errors import EnvironmentGap, InputError, PanformerError, require, unknown
from panformer.core.families import Channel
from panformer.core.part import FAMILIES, Config, config, digest, find, known, parse


def test_every_file_of_a_family_is_one_part():
    for family in FAMILIES:
        for use in known(family):
            part = find(family, use)
            assert (part.family, part.use()) == (family, use)
            assert part.Config.part is part


def test_a_config_is_read_from_a_name_a_tree_or_itself():
    one = config("norms", "layer")
    assert config("norms", {"use": "layer"}) == one
    assert config("norms", one) is one
    assert one.build(8).__class__ is find("norms", "layer")


def test_a_config_survives_json():
    tree = {"use": "attention", "heads": 2, "causal": True, "position": {"use": "rope", "base": 500.0}}
    c = config("mixers", tree)
    again = config("mixers", json.loads(json.dumps(c.dump())))
    assert again.dump() == c.dump()
    assert again.position.base == 500.0


def test_a_config_is_frozen():
    c = config("mixers", {"use": "attention", "heads": 2})
    with pytest.raises(ValueError, match="frozen"):
        c.heads = 4


@pytest.mark.parametrize(
    ("family", "node", "told"),
    [
        ("mixers", "atention", "unknown mixer part 'atention'; did you mean 'attention'? known: aaren, "),
        ("mixers", {"use": "attention", "head": 2}, "mixers/attention: unknown key 'head'; did you mean 'heads'?"),
        ("mixers", {"use": "attention", "heads": 0}, "mixers/attention.heads: input should be greater than 0, got 0"),
        ("mixers", {"use": "attention", "heads": "two"}, "mixers/attention.heads: "),
        ("mixers", {"use": "attention", "scale": float("inf")}, "mixers/attention.scale: "),
        ("mixers", {"use": "attention", "position": "rop"}, "did you mean 'rope'?"),
        (
            "mixers",
            {"use": "attention", "position": {"use": "rope", "bas": 1}},
            "unknown key 'bas'; did you mean 'base'?",
        ),
        ("mixers", {"heads": 2}, "mixers: expected a name or {use: NAME, ...}"),
        ("mixers", {"use": 3}, "mixers: expected a name or {use: NAME, ...}"),
        ("mixers", 7, "mixers: expected a name or {use: NAME, ...}, got 7"),
        ("mixers", None, "mixers: expected a name"),
        ("mixer", "attention", "unknown family 'mixer'; did you mean 'mixers'?"),
        ("embeds", "tokens", "embeds/tokens.vocab: this key is required"),
    ],
)
def test_a_bad_config_is_told_in_one_line(family, node, told):
    with pytest.raises(InputError) as fault:
        config(family, node)
    assert told in str(fault.value)
    assert "\n" not in str(fault.value)
    assert fault.value.exit_code == 2


def test_a_part_of_another_family_is_refused():
    with pytest.raises(InputError, match=r"a norms part \(layer\) stands where mixers belong"):
        config("mixers", config("norms", "layer"))


def test_options_are_listed_from_the_level_that_is_wrong():
    class Inner(Config):
        small: int = 1

    class Outer(Config):
        inner: Inner = Inner()
        many: list[Inner] = Field(default_factory=list)

    with pytest.raises(InputError, match=r"outer\.inner: unknown key 'smal'; did you mean 'small'\? known: small"):
        parse(Outer, {"inner": {"smal": 1}}, "outer")
    with pytest.raises(InputError, match=r"outer\.many\.1\.small: "):
        parse(Outer, {"many": [{}, {"small": "x"}]}, "outer")


def test_a_part_that_cannot_be_built_says_why():
    with pytest.raises(InputError, match="width 10 does not divide into 4 heads"):
        config("mixers", {"use": "attention", "heads": 4}).build(10)
    with pytest.raises(InputError, match="4 heads do not divide into 3 kv_heads"):
        config("mixers", {"use": "attention", "heads": 4, "kv_heads": 3}).build(16)


def test_a_subclass_with_its_own_config_owns_it():
    class Own(Channel):
        class Config(Config):
            size: int = 1

    assert Own.Config.part is Own
    assert Channel.Config is not Own.Config


def test_a_digest_ignores_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest({})) == 12


def test_unknown_names_what_is_near_and_what_is_known():
    assert str(unknown("norm", "laier", ["rms", "layer"])) == (
        "unknown norm 'laier'; did you mean 'layer'? known: layer, rms"
    )
    assert str(unknown("norm", "zzz", [])) == "unknown norm 'zzz'; known: none"


def test_a_missing_package_says_which_extra_brings_it():
    with pytest.raises(EnvironmentGap, match=r"pip install 'panformer\[choose\]'") as gap:
        require("no_such_package_at_all", "choose")
    assert gap.value.exit_code == 3
    assert isinstance(gap.value, PanformerError)
    assert require("json", "choose") is json
