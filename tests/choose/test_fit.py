"""`panformer train`: a spec is completed from the data or refused in one line; training resumes to the same model."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from panformer.choose.fit import fitted, train
from panformer.core.errors import InputError
from panformer.train.loop import Train

LAYER = {"schedule": [{"repeat": 1, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}], "width": 16}
QUIET = lambda *_: None  # noqa: E731


@pytest.mark.parametrize("kind", ["table", "regression", "text", "series", "image", "frames"])
def test_a_spec_without_ends_gets_those_of_the_data(data, kind):
    spec = fitted(LAYER, data[kind])
    assert spec.head is not None and spec.objective is not None


def test_a_language_model_must_be_causal(data):
    with pytest.raises(InputError, match="--set causal=true"):
        fitted(LAYER, data["language"])
    assert fitted({**LAYER, "causal": True}, data["language"]).head.vocab == 258


CONTRADICTIONS = [
    ("text", {"embed": {"use": "tokens", "vocab": 50}}, "embed.vocab is 50, the data has 258; --set embed.vocab=258"),
    ("frames", {"embed": {"use": "frames", "channels": 5}}, "embed.channels is 5, the data has 3"),
    ("table", {"embed": {"use": "columns", "columns": 9, "categories": 9}}, "embed.columns is 9, the data has 4"),
    ("table", {"head": {"use": "classify", "classes": 7}}, "head.classes is 7, the data has 2"),
    ("series", {"head": {"use": "forecast", "horizon": 12, "channels": 2}}, "head.horizon is 12, the data has 6"),
    ("image", {"embed": {"use": "tokens", "vocab": 9}}, "'tokens' reads tokens, the data holds image"),
    ("image", {"embed": {"use": "patches", "size": 3, "channels": 1}}, "into patches of 3"),
    ("table", {"objective": "regress"}, "'regress' does not fit classification; right is 'classify'"),
    ("table", {"widht": 3}, "did you mean 'width'"),
    ("table", {"head": {"use": "regress"}}, "answers"),
]


@pytest.mark.parametrize(("kind", "change", "says"), CONTRADICTIONS, ids=[s[:24] for *_, s in CONTRADICTIONS])
def test_a_spec_that_contradicts_the_data_is_refused(data, kind, change, says):
    with pytest.raises(InputError) as fault:
        fitted({**LAYER, **change}, data[kind])
    assert says in str(fault.value), str(fault.value)


def test_a_spec_must_be_a_mapping(data):
    with pytest.raises(InputError, match="a mapping is needed"):
        fitted([1, 2], data["table"])


def test_training_ends_in_a_model_folder(data, tmp_path):
    found = train(LAYER, data["frames"], {"data": "x"}, Train(steps=40, rate=3e-3), tmp_path / "run", False, QUIET)
    assert found["test"] > 0.8, f"accuracy {found['test']} on classes two deviations apart"
    assert json.loads((tmp_path / "run" / "train.json").read_text())["steps"] == 40
    with pytest.raises(InputError, match="holds an earlier run"):
        train(LAYER, data["frames"], {}, Train(steps=40), tmp_path / "run", False, QUIET)


def test_nothing_is_resumed_that_was_not_begun(data, tmp_path):
    with pytest.raises(InputError, match="no checkpoint to resume"):
        train(LAYER, data["frames"], {}, Train(steps=5), tmp_path / "run", True, QUIET)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_training_resumes_to_the_same_weights(files, tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps({**LAYER, "name": "small"}))

    def call(out, *more):
        options = ["--steps", "160", "--seed", "2", "--out", str(tmp_path / out), "--json", *more]
        return [
            sys.executable,
            "-m",
            "panformer",
            "train",
            str(tmp_path / "spec.json"),
            str(files / "waves.npz"),
            *options,
        ]

    whole = subprocess.run(call("whole"), capture_output=True, text=True, timeout=120)
    assert whole.returncode == 0, whole.stderr[-300:]
    work = subprocess.Popen(call("parts"), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for line in work.stderr:
        if "step 48" in line:
            work.send_signal(signal.SIGINT)
            break
    rest = work.communicate(timeout=60)[1]
    assert work.returncode == 130 and "--resume" in rest, rest[-300:]
    assert not (tmp_path / "parts" / "model").exists()
    done = subprocess.run(call("parts", "--resume"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-300:]
    a, b = (load_file(tmp_path / out / "model" / "model.safetensors") for out in ("whole", "parts"))
    assert a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
    assert json.loads(done.stdout)["test"] == json.loads(whole.stdout)["test"]
