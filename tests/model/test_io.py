"""A model folder is whole or absent, and damage is found when it is loaded."""

import json
import random

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.model.io import publish, tensors

SPEC = {
    "width": 8,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 12},
    "schedule": [{"repeat": 2, "tie": True, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    "head": {"use": "lm", "vocab": 12},
}


@pytest.fixture
def folder(tmp_path):
    return panformer.save(panformer.build(SPEC, seed=3), tmp_path / "model", {"README.md": "# card"})


def test_loads_bitwise(folder):
    model, again = panformer.build(SPEC, seed=3), panformer.load(folder)
    assert all(torch.equal(v, tensors(again)[n]) for n, v in tensors(model).items())
    x = torch.arange(12)[None]
    assert torch.equal(model.eval()(x), again(x))


def test_saving_is_deterministic_and_replaces_whole(folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    panformer.save(panformer.build(SPEC, seed=3), folder, {"README.md": "# card"})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["model"], "drafts were left behind"


def test_every_bit_flip_is_found(folder):
    rng = random.Random(0)
    for name in ("model.safetensors", "config.json", "README.md", "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(40):
            torn = bytearray(whole)
            where = rng.randrange(len(torn))
            torn[where] ^= 1 << rng.randrange(8)
            path.write_bytes(bytes(torn))
            with pytest.raises(InputError):
                panformer.load(folder)
        path.write_bytes(whole)
    panformer.load(folder)


def test_every_cut_is_found(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"model\.safetensors"):
            panformer.load(folder)


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        panformer.load(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b"])
def test_a_manifest_cannot_point_elsewhere(folder, name):
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    tree["files"][name] = {"bytes": 1, "sha256": ""}
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match="plain file name"):
        panformer.load(folder)


def test_a_link_is_refused(folder, tmp_path):
    real = tmp_path / "elsewhere"
    (folder / "README.md").rename(real)
    (folder / "README.md").symlink_to(real)
    with pytest.raises(InputError, match="plain file name"):
        panformer.load(folder)


def test_weights_of_another_spec_are_refused(folder, tmp_path):
    other = {**SPEC, "embed": {"use": "tokens", "vocab": 13}, "head": {"use": "lm", "vocab": 13}}
    stranger = panformer.build(other, seed=0)
    from safetensors.torch import save

    config = json.loads((folder / "config.json").read_text())
    mixed = publish(
        tmp_path / "mixed", {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors(stranger))}
    )
    with pytest.raises(InputError, match="shape"):
        panformer.load(mixed)


def test_a_newer_format_is_refused(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"format": 99}
    weights = (folder / "model.safetensors").read_bytes()
    newer = publish(tmp_path / "newer", {"config.json": json.dumps(config).encode(), "model.safetensors": weights})
    with pytest.raises(InputError, match="format 99"):
        panformer.load(newer)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a folder of ours"):
        panformer.save(panformer.build(SPEC, seed=0), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_nowhere_is_named(tmp_path):
    with pytest.raises(InputError, match="no such model folder"):
        panformer.load(tmp_path / "nothing")
