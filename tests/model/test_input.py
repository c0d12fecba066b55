"""Odd input gives the same answers as tidy input, or one clear line."""

import os
import subprocess
import sys

import pytest
import torch

import panformer
from panformer.core.errors import InputError

SHELL = {"width": 32, "schedule": [{"mixer": {"use": "attention", "heads": 4}, "channel": "mlp"}]}
TEXT = {
    **SHELL,
    "causal": True,
    "position": {"use": "learned", "length": 16},
    "embed": {"use": "tokens", "vocab": 50},
    "head": {"use": "lm", "vocab": 50},
}
FRAMES = {**SHELL, "embed": {"use": "frames", "channels": 3}, "head": {"use": "classify", "classes": 2}}


@pytest.fixture(scope="module")
def text():
    return panformer.build(TEXT, seed=0).eval()


@pytest.fixture(scope="module")
def frames():
    return panformer.build(FRAMES, seed=0).eval()


IDS = torch.arange(24).view(3, 8)
REFUSED = {
    "no token": (IDS[:, :0], "empty input"),
    "no row": (IDS[:0], "empty input"),
    "past the trained length": (torch.ones(1, 17, dtype=torch.int64), "place 16 is past the table of length 16"),
    "floats for ids": (IDS.float(), "reads tokens"),
    "a large id": (IDS + 50, "outside the vocabulary, 0 .. 49"),
    "a negative id": (IDS - 60, "outside the vocabulary, 0 .. 49"),
    "a stack of batches": (IDS[None], r"got a tensor of shape \(1, 3, 8\)"),
    "a list": ([[1, 2], [3]], "what pack and pad make, got a list"),
    "another device": (IDS.to("meta"), "the model is on cpu, the input on meta"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_clear_line(text, case):
    x, line = REFUSED[case]
    with pytest.raises(InputError, match=line) as told:
        text(x)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("lengths", [[8, 0, 3], [8, 9, 3], [8, 3]])
def test_lengths_that_do_not_fit(text, lengths):
    with pytest.raises(InputError, match="length"):
        text(IDS, lengths)


@pytest.mark.parametrize(("model", "given"), [(torch.float32, torch.float64), (torch.bfloat16, torch.float32)])
def test_mixed_formats(model, given):
    with pytest.raises(InputError, match=f"computes in {model}, the input is in {given}"):
        panformer.build(FRAMES, seed=0).to(model)(torch.ones(1, 4, 3, dtype=given))


def test_the_order_in_memory_does_not_matter(text, frames):
    x = torch.randn(2, 3, 9).mT
    fast = panformer.optimize(frames, "throughput").model
    for model, given in ((text, torch.arange(24).view(8, 3).T), (frames, x), (fast, x)):
        with torch.inference_mode():
            torch.testing.assert_close(model(given), model(given.contiguous()), rtol=0, atol=0)


@pytest.mark.parametrize("change", [{"PATH": "", "CXX": "no-such-compiler"}, {"OMP_NUM_THREADS": "64"}])
def test_no_compiler_and_more_threads_than_cores(change):
    code = (
        "import torch, panformer\n"
        f"model = panformer.build({TEXT!r}, seed=0).eval()\n"
        "fast = panformer.optimize(model, 'latency').model\n"
        "x = torch.arange(8)[None]\n"
        "with torch.inference_mode():\n"
        "    assert (fast(x) - model(x)).abs().max() < 0.1\n"
        "    assert len(model.generate([x[0]], tokens=4)[0].ids) == 4\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **change}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-500:]
