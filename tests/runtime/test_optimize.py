"""optimize: near the model it was given, never past its tolerance, saved whole, and honest about what it did."""

from __future__ import annotations

import importlib

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.model.io import tensors
from panformer.runtime import optimize

module = importlib.import_module("panformer.runtime.optimize")  # the package's name for it is the function

SPEC = {
    "width": 64,
    "embed": {"use": "tokens", "vocab": 50},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 4, "bias": True}, "channel": "mlp"}],
    "head": {"use": "classify", "classes": 5},
}


@pytest.fixture(scope="module")
def model():
    return panformer.build(SPEC, seed=0).eval()


@pytest.mark.parametrize("goal", ["latency", "throughput", "memory"])
def test_answers_stay_within_the_tolerance(model, goal):
    before = {n: v.clone() for n, v in tensors(model).items()}
    done = optimize(model, goal, tolerance=0.05)
    x = torch.randint(0, 50, (4, 23))
    with torch.no_grad():
        want, got = model(x), done.model(x)
    assert done.error <= 0.05
    assert (got - want).abs().max() <= 3 * 0.05 * want.abs().max()  # other input than was measured on
    assert all(torch.equal(v, before[n]) for n, v in tensors(model).items()), "the model given was changed"


def test_a_form_that_breaks_the_tolerance_is_given_up(model):
    assert "int4" in {e.use for e in optimize(model, "memory", tolerance=0.9).ledger}
    strict = optimize(model, "memory", tolerance=1e-5)
    assert {e.use for e in strict.ledger} <= {"packed"} and strict.error <= 1e-5
    nothing = optimize(model, "memory", tolerance=0, forms=["int8"])
    assert nothing.ledger == [] and nothing.error == 0


def test_memory_is_really_saved(model):
    done = optimize(model, "memory", tolerance=0.9)
    size = [sum(t.numel() * t.element_size() for t in m.state_dict().values()) for m in (model, done.model)]
    assert size[0] - size[1] == sum(e.bytes_saved for e in done.ledger) > 0.5 * size[0]


def test_what_was_optimised_is_saved_and_loaded(model, tmp_path):
    done = optimize(model, "memory", tolerance=0.9)
    panformer.save(done.model, tmp_path / "small")
    x = torch.randint(0, 50, (4, 23))
    with torch.no_grad():
        assert torch.equal(panformer.load(tmp_path / "small")(x), done.model(x))


def test_bad_requests(model):
    with pytest.raises(InputError, match="for_ must be one of latency, throughput, memory, got 'speed'"):
        optimize(model, "speed")
    with pytest.raises(InputError, match="tolerance must be"):
        optimize(model, tolerance=2)
    with pytest.raises(InputError, match="dtype must be one of same, auto"):
        optimize(model, dtype="bf16")
    with pytest.raises(InputError, match="rows must be at least 1"):
        optimize(model, rows=0)
    with pytest.raises(InputError, match="unknown linear part 'int5'"):
        optimize(model, forms=["int5"])
    with pytest.raises(InputError, match="need a sample"):
        optimize(model, forms=["int8_static"])
    with pytest.raises(InputError, match="no device 'cuda:99' here; this machine has cpu"):
        optimize(model, device="cuda:99")
    with pytest.raises(InputError, match="no device 'gpu' here"):
        optimize(model, device="gpu")


def test_it_is_known_under_the_packages_name(model):
    assert panformer.optimize is optimize
    assert next(panformer.optimize(model, device="cpu").model.parameters()).device.type == "cpu"


def test_bf16_is_taken_where_it_is_faster_and_near_enough(model, monkeypatch):
    monkeypatch.setattr(module, "_race", lambda modules, inputs: _told(modules, fast=torch.bfloat16))
    done = optimize(model, dtype="auto", tolerance=0.05, forms=[])
    assert [e.use for e in done.ledger] == ["bf16"]
    assert {p.dtype for p in done.model.parameters()} == {torch.bfloat16} and 0 < done.error <= 0.05
    assert {p.dtype for p in model.parameters()} == {torch.float32}, "the model given was changed"
    strict = optimize(model, dtype="auto", tolerance=1e-6, forms=[])
    assert strict.ledger == [] and {p.dtype for p in strict.model.parameters()} == {torch.float32}
    monkeypatch.setattr(module, "_race", lambda modules, inputs: _told(modules, fast=torch.float32))
    assert optimize(model, dtype="auto", tolerance=0.05, forms=[]).ledger == []


def test_the_rows_of_a_call_are_what_is_measured(model):
    assert {e.rows for e in optimize(model, "memory", tolerance=0.9, rows=5).ledger} == {5}


def _told(modules, fast):
    return [1.0 if next(m.parameters()).dtype == fast else 2.0 for m in modules]


@pytest.mark.parametrize(("form", "width"), [("rms", 64), ("crms", 63)])
def test_norms_are_rewritten_first_and_stand_in_the_ledger(model, form, width, tmp_path):
    done = optimize(model, tolerance=1e-5, norms=form)
    assert (done.ledger[0].use, done.ledger[0].maps) == (form, 5) and done.error <= 1e-5
    assert done.model.spec.width == width and done.model.trunk.final.use() == form
    x = torch.randint(0, 50, (4, 23))
    with torch.no_grad():
        torch.testing.assert_close(done.model(x), model(x), rtol=1e-3, atol=1e-4)
        panformer.save(done.model, tmp_path / "m")
        torch.testing.assert_close(panformer.load(tmp_path / "m")(x), model(x), rtol=1e-3, atol=1e-4)


def test_norms_that_cannot_be_rewritten_are_named():
    with pytest.raises(InputError, match="no layer norm"):
        optimize(panformer.build({**SPEC, "norm": "rms"}, seed=0).eval(), norms="crms")
    with pytest.raises(InputError, match="same, rms, crms"):
        optimize(panformer.build(SPEC, seed=0).eval(), norms="layer")
