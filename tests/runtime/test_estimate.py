"""Estimates: counted right, refused where they make no sense, and told on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import panformer
from panformer.core.errors import InputError
from panformer.ops.attend import attend
from panformer.ops.backend import Kernel
from panformer.runtime.doctor import findings
from panformer.runtime.estimate import _extended, estimate

SPEC = {
    "width": 32,
    "embed": {"use": "tokens", "vocab": 50},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 4}, "channel": "mlp"}],
}


def test_time_is_a_line_through_two_runs():
    assert _extended([1.0, 2.0], [10, 20], 40) == pytest.approx(4.0)
    assert _extended([2.0, 2.5], [10, 20], 40) == pytest.approx(3.5)  # 1.5 that does not grow
    assert _extended([2.0, 1.9], [10, 20], 40) == pytest.approx(3.8)  # noise: by proportion
    assert _extended([1.0, 3.0], [10, 20], 40) == pytest.approx(6.0)  # dearer than its count: by proportion


def test_memory_is_weights_and_activations():
    model = panformer.build(SPEC, seed=0)
    weights = 4 * sum(p.numel() for p in model.parameters())
    answer, step = estimate(model, 64), estimate(model, 64, train=True)
    assert weights < answer.memory < weights + 2**20
    assert step.memory > 4 * weights and step.seconds > 0 and answer.fits


def test_it_is_refused_where_it_means_nothing():
    with pytest.raises(InputError, match="at least 1"):
        estimate(panformer.build(SPEC), 0)


def test_the_commands():
    call = [sys.executable, "-m", "panformer"]
    done = subprocess.run([*call, "estimate", "vit", "--run", "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["fits"] and told["measured_seconds"] > 0 and "error" in told
    done = subprocess.run([*call, "doctor"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "oneDNN" in done.stdout
    done = subprocess.run([*call, "estimate", "vitt"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "did you mean 'vit'" in done.stderr


def test_the_doctor_names_every_extra():
    assert {"[choose]", "[hf]", "[export]", "[serve]", "[gpu]", "[fast]", "C++ compiler"} <= {
        f.name for f in findings()
    }


def test_the_doctor_tries_every_kernel(monkeypatch):
    row = next(f for f in findings() if f.name == "kernels, cpu")
    assert row.there and "attend:sdpa" in row.about and "selective_scan:triton not here (" in row.about
    wrong = Kernel("sdpa", lambda *_: None, lambda q, k, v, *_: v * 0)
    monkeypatch.setattr(attend, "kernels", (wrong,))
    row = next(f for f in findings() if f.name == "kernels, cpu")
    assert not row.there and "attend:sdpa left out, its error" in row.about
