"""8-bit maps with fixed scales: the formula, what is cut off, and the two steps that happen within a product."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import panformer
from panformer.core.part import config
from panformer.linears import _int8
from panformer.linears.int8 import Int8
from panformer.linears.int8_static import FUSED, TOP, Int8Static
from panformer.ops.activations import ACTIVATIONS
from panformer.ops.maps import together
from panformer.runtime import optimize


def fitted(inputs=96, outputs=40, bias=True, seed=0, low=-3.0, high=5.0) -> tuple[nn.Linear, Int8Static]:
    """Fitted to inputs of which each has a size of its own: a tenth of the reach to all of it."""
    torch.manual_seed(seed)
    plain = nn.Linear(inputs, outputs, bias).requires_grad_(False)
    part = Int8Static(Int8Static.Config(), inputs, outputs, bias)
    size = torch.linspace(0.1, 1.0, inputs)
    part.fit(plain, low * size, high * size)
    return plain, part


def formula(part: Int8Static, x: torch.Tensor) -> torch.Tensor:
    zero = part.zero.double()
    codes = (x.double() / part.steps.double()).round().add(zero).clamp(0, TOP) - zero
    out = part.scale.double() * F.linear(codes, part.codes.double())
    return out if part.bias is None else out + part.bias.double()


@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_formula(rows, dtype, grad, bias):
    _, part = fitted(bias=bias)
    x = (2 * torch.randn(rows, 96)).to(dtype)  # some of it beyond the reach
    part.to(dtype)
    with torch.set_grad_enabled(grad):
        got, want = part(x), formula(part, x)
    assert got.dtype == dtype and got.shape == want.shape
    slack = 2**-8 if dtype == torch.bfloat16 else 1e-3  # a number halfway between two codes may go either way
    assert (got.double() - want).norm() <= slack * want.norm()


def test_it_is_near_the_map_and_nearer_than_one_step_for_all():
    torch.manual_seed(1)
    size = torch.ones(96)
    size[7] = 40.0  # one input that is large
    x = torch.randn(400, 96) * size
    plain, part = fitted()
    with torch.no_grad():
        errors = []
        for reach in (x.abs().amax(0), x.abs().max().expand(96)):
            part.fit(plain, -reach, reach)
            errors.append(float((part(x) - plain(x)).norm() / plain(x).norm()))
    assert 2 * errors[0] < min(0.04, errors[1])


def test_what_is_beyond_the_reach_is_cut_off():
    _, part = fitted()
    x = torch.randn(4, 96)
    lowest, highest = -part.zero * part.steps, (TOP - part.zero) * part.steps
    with torch.no_grad():
        torch.testing.assert_close(part(1e6 * x), part(torch.where(x > 0, highest, lowest)))


def test_rows_do_not_depend_on_their_neighbours():
    _, part = fitted()
    x = torch.randn(9, 96) * torch.logspace(-3, 3, 9)[:, None]
    with torch.no_grad():
        assert torch.equal(part(x), torch.cat([part(row[None]) for row in x]))


@pytest.mark.parametrize("use", ["int8", "int8_static"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_many_rows_are_worked_on_in_parts(use, dtype, monkeypatch):
    part = fitted()[1] if use == "int8_static" else Int8(Int8.Config(), 96, 40)
    if use == "int8":
        part.take(fitted()[0])
    x = torch.randn(2, 25, 96).to(dtype)
    with torch.no_grad():
        whole = part.to(dtype)(x)
        monkeypatch.setattr(_int8, "ROOM", 700)
        assert torch.equal(part(x), whole)


def test_a_reach_that_leaves_out_0_is_widened_to_it():
    assert fitted(low=1.0, high=4.0)[1].zero == 0
    assert fitted(low=-4.0, high=-1.0)[1].zero == TOP


def test_inputs_that_were_never_seen_do_no_harm():
    plain, part = fitted()
    reach = torch.ones(96)
    reach[::2] = 0
    part.fit(plain, -reach, reach)
    x = torch.rand(20, 96) * reach
    with torch.no_grad():
        assert (part(x) - plain(x)).norm() < 0.01 * plain(x).norm()
        part.fit(plain, 0 * reach, 0 * reach)
        assert part(x).isfinite().all() and torch.equal(part(0 * x), plain.bias.expand(20, -1))


@pytest.mark.parametrize("activation", FUSED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_activation_within_the_product_is_one_after_it(activation, dtype):
    _, part = fitted()
    part.to(dtype)
    x = torch.randn(5, 7, 96).to(dtype)
    with torch.inference_mode():
        got, want = part.fused(x, activation), ACTIVATIONS[activation](formula(part, x))
    assert got.dtype == dtype and (got - want).norm() <= 0.01 * want.norm()


@pytest.mark.parametrize("low", [[-3.0, -3.0, -3.0], [-3.0, -1.0, -2.0]])
@pytest.mark.parametrize("grad", [True, False])
def test_maps_together_are_one_by_one(low, grad):
    parts = [fitted(seed=i, low=at)[1] for i, at in enumerate(low)]
    x = torch.randn(2, 9, 96)
    with torch.set_grad_enabled(grad):
        for part, got in zip(parts, together(x, *parts), strict=True):
            assert torch.equal(got, part(x))


def test_a_fitted_and_an_unfitted_map_are_one_by_one():
    parts = [fitted()[1], Int8Static(Int8Static.Config(), 96, 40)]
    parts[1].take(fitted(seed=1)[0])
    x = torch.randn(9, 96)
    with torch.no_grad():
        for part, got in zip(parts, together(x, *parts), strict=True):
            assert torch.equal(got, part(x))


def test_a_new_fit_is_seen_and_steps_stay_exact_in_bf16():
    plain, part = fitted(low=-0.01, high=0.01)
    x = torch.randn(6, 96).clamp(-3, 3)
    with torch.no_grad():
        before, want = part(x), plain(x)
        part.fit(plain, -3.3 * torch.ones(96), 3.3 * torch.ones(96))
        assert (before - want).norm() > 0.5 * want.norm() > 20 * (part(x) - want).norm()
    steps = part.steps
    assert torch.equal(part.to(torch.bfloat16).steps, steps)


def test_gradients_pass_the_rounding():
    plain, part = fitted(low=-9.0, high=9.0)
    x = torch.randn(5, 96, requires_grad=True)
    (ours,) = torch.autograd.grad(part(x).sum(), x)
    (theirs,) = torch.autograd.grad(plain(x).sum(), x)
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("told", [True, False])
def test_it_can_be_read_by_torch_export(told):
    plain, part = fitted()
    if not told:
        part = Int8Static(Int8Static.Config(), 96, 40)
        part.take(plain)
    x = torch.randn(5, 96)
    made = torch.export.export(part.eval(), (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(made(x), part(x), rtol=1e-4, atol=1e-4)


SPEC = {
    "width": 64,
    "embed": {"use": "tokens", "vocab": 50},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 4, "bias": True}, "channel": "mlp"}],
    "head": {"use": "classify", "classes": 5},
}


def test_optimize_fits_every_map_to_the_sample(tmp_path):
    model = panformer.build(SPEC, seed=0).eval()
    x = torch.randint(0, 50, (8, 23))
    form = config("linears", "int8_static")
    done = optimize(model, "memory", sample=(x,), tolerance=0.2, forms=[form])
    parts = {n: m for n, m in done.model.named_modules() if isinstance(m, Int8Static)}
    assert len(parts) == 13 and all((p.steps > 0).all() for p in parts.values())
    up, down = parts["trunk.layers.0.channel.up"], parts["trunk.layers.0.channel.down"]
    assert 90 < up.zero < 165, "a norm answers about 0"
    assert 0 < down.zero < 60, "gelu answers little below it"
    q, k = (parts[f"trunk.layers.0.mixer.{n}"] for n in "qk")
    assert torch.equal(q.steps, k.steps)
    panformer.save(done.model, tmp_path / "small")
    again = panformer.load(tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(again(x), done.model(x)) and torch.equal(copy.deepcopy(again)(x), done.model(x))
        far = model(x)
        assert (done.model(x) - far).abs().max() <= 0.2 * far.abs().max()
