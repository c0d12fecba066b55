"""Specs: what is refused, in which words; what resolves alike is the same model."""

import json

import pytest
import torch
import yaml

import panformer
from panformer.core.errors import InputError
from panformer.core.part import config, find, known
from panformer.core.schedule import expand
from panformer.core.spec import locate, read, resolve
from panformer.core.tree import read_tree

GOOD = {
    "width": 16,
    "embed": {"use": "tokens", "vocab": 30},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
}


def change(**changes):
    return {**GOOD, **changes}


def layer(**changes):
    return change(schedule=[{**GOOD["schedule"][0], **changes}])


BAD = [
    (change(widht=3), "did you mean 'width'"),
    (change(width=0), "width"),
    (change(width="x"), "width"),
    (change(width=10**9), "width"),
    ({k: v for k, v in GOOD.items() if k != "width"}, "width: this key is required"),
    ({k: v for k, v in GOOD.items() if k != "embed"}, "embed: this key is required"),
    (change(schedule=[]), "schedule"),
    (change(schedule=[{"repeat": 2}]), "needs a mixer"),
    (change(schedule=[{"repeat": 10**9, "mixer": "attention"}]), "repeat"),
    (change(schedule=[{"repeat": 0, "mixer": "attention"}]), "repeat"),
    (change(schedule=[{"pattern": [{"mixer": "attention"}] * 2000, "repeat": 2}]), "more than 2048 layers"),
    (layer(mixer="atention"), "did you mean 'attention'"),
    (layer(mixer={"use": "attention", "hedas": 2}), "did you mean 'heads'"),
    (layer(mixer={"heads": 2}), "expected a name"),
    (layer(mixer=3), "expected a name"),
    (layer(mixer={"use": "attention", "heads": -1}), "heads"),
    (layer(mixer={"use": "attention", "heads": 3}), "does not divide into 3 heads"),
    (layer(mixer={"use": "attention", "heads": 4, "kv_heads": 3}), "kv_heads"),
    (layer(channel={"use": "mlp", "ratio": float("nan")}), "ratio"),
    (layer(channel="rope"), "unknown channel part 'rope'"),
    (layer(reads={"kv": "nobody"}), "no earlier layer has that name"),
    (layer(reads={"memory": "a"}, name="a"), "no earlier layer"),
    (layer(position="rope", mixer="fourier"), "cannot use position 'rope'"),
    (layer(mixer={"use": "cosine_attention", "heads": 2, "position": "alibi"}), "cannot use position 'alibi'"),
    (layer(mixer={"use": "attention", "heads": 2, "scale": 0}), "scale"),
    (change(position="rope", schedule=[{"mixer": "fourier"}]), "would be ignored"),
    (change(causal=True, schedule=[{"mixer": "fourier"}]), "cannot stand in a causal model"),
    (change(dropout=1.5), "dropout"),
    (change(embed={"use": "tokens", "vocab": -3}), "vocab"),
    (change(embed={"use": "tokens", "vocab": 5, "position": "rope"}), "adds no vectors"),
    (change(schedule=[*GOOD["schedule"], {"width": 32, "mixer": "attention"}]), "needs `reduce`"),
    (layer(cross={"use": "cross_attention", "heads": 2}), "give the spec an encoder"),
    (change(head={"use": "lm", "vocab": 30}, embed={"use": "frames", "channels": 3}), "token table"),
    (change(one_table=True), "one_table: needs an encoder"),
    ([1, 2], "spec"),
]


@pytest.mark.parametrize(("tree", "says"), BAD, ids=[says for _, says in BAD])
def test_a_bad_spec_is_refused_in_one_line(tree, says):
    with pytest.raises(InputError) as fault:
        panformer.build(
            read(tree) if isinstance(tree, dict) else panformer.core.part.parse(panformer.Spec, tree, "spec")
        )
    line = str(fault.value)
    assert says in line, line
    assert "\n" not in line, line


FILES = [
    ("empty.yaml", b"", "spec"),
    ("twice.yaml", b"width: 3\nwidth: 4\n", "given twice"),
    ("alias.yaml", b"a: &x [1]\nb: *x\n", "alias"),
    ("tag.yaml", b"width: !!python/object/apply:os.getcwd []\n", "tag"),
    ("cut.json", b'{"width": ', "cut.json"),
    ("twice.json", b'{"width": 1, "width": 2}', "given twice"),
    ("latin.yaml", b"name: \xff\xfe\n", "UTF-8"),
    ("deep.json", b"[" * 100_000, "deep.json"),
    ("big.yaml", b"#" * 1_000_001, "larger than"),
]


@pytest.mark.parametrize(("name", "content", "says"), FILES, ids=[n for n, _, _ in FILES])
def test_a_bad_file_is_named(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as fault:
        read(path)
    assert says in str(fault.value), str(fault.value)


def test_missing_files_and_presets_are_named():
    with pytest.raises(InputError, match="no such file"):
        read("nowhere.yaml")
    with pytest.raises(InputError, match="did you mean 'bert'"):
        read("bret")


def test_what_resolves_alike_shares_a_hash():
    explicit = change(norm={"use": "layer", "eps": 1e-5}, residual="pre", final="layer", name="other", about="words")
    assert read(explicit).hash == read(GOOD).hash
    assert read(layer(channel="glu")).hash != read(GOOD).hash


def test_a_spec_survives_json_and_yaml():
    spec = read(GOOD)
    assert read(json.loads(json.dumps(spec.dump()))).hash == spec.hash
    assert read(yaml.safe_load(yaml.safe_dump(spec.dump()))).hash == spec.hash


def test_expansion_is_pure_and_names_its_lenders():
    stages = [
        {"pattern": [{"name": "a", "mixer": "attention"}, {"mixer": "attention", "reads": {"kv": "a"}}], "repeat": 2}
    ]
    placed = expand(read(change(schedule=stages)).schedule, 16)
    assert [p.reads for p in placed] == [{}, {"kv": 0}, {}, {"kv": 2}]


def test_added_positions_move_into_the_embed():
    spec = resolve(read(change(position="sinusoidal")))
    assert spec.embed.position.part.use() == "sinusoidal"
    assert spec.position is None


PRESETS = sorted(p.stem for p in locate("bert").parent.glob("*.yaml"))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_and_run(name):
    """Each preset at its own options, made small: two repeats a stage, a quarter of the width or less."""
    with torch.device("meta"):
        assert panformer.build(name).spec.name == name
    tree = read_tree(locate(name))
    for stage in tree["schedule"]:
        stage["repeat"] = 1
    model = panformer.build(tree, seed=0)
    out = model(*model.dummy(16 if model.embed.reads != "image" else 196))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("spec", [None, 3])
def test_what_is_no_spec_is_refused(spec):
    with pytest.raises(InputError, match="a spec is a preset's name"):
        panformer.build(spec)


@pytest.mark.parametrize("width", [0, "64", 8.0])
def test_what_is_no_width_is_refused(width):
    with pytest.raises(InputError, match="a whole number from 1 on"):
        panformer.part("mixers", "attention", width, heads=4)


@pytest.mark.parametrize(("family", "use"), [("mixers", "attention"), ("channels", "mlp")])
@pytest.mark.parametrize("shape", [(2, 5, 8), (3, 6, 8), (6, 8)])
def test_a_part_alone_refuses_what_its_layout_does_not_tell_of(family, use, shape):
    made = panformer.part(family, use, 8)
    with pytest.raises(InputError, match=r"a layout of 2 x 6 tokens needs x of shape \(2, 6, width\)"):
        made(torch.zeros(shape), panformer.Layout.dense(2, 6))
    assert made(torch.zeros(2, 6, 8), panformer.Layout.dense(2, 6)).shape == (2, 6, 8)


@pytest.mark.parametrize("use", [m for m in known("mixers") if "position" in find("mixers", m).Config.model_fields])
def test_a_mixer_refuses_a_position_that_it_has_no_hook_for(use):
    """On its own too, inside another part, where no spec looks: it would be left out without a word."""
    mixer = find("mixers", use)
    for place in (find("positions", p) for p in known("positions")):
        if place.kind not in (*mixer.positions, "none"):
            tree = {**mixer.examples[0], "use": use, "position": {"use": place.use(), **place.examples[0]}}
            with pytest.raises(InputError, match=f"cannot use position '{place.use()}'"):
                config("mixers", tree).build(16)
