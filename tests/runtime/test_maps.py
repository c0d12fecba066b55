"""Linear maps called in their faster forms: the same answers as map by map, activation after map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from panformer.core.part import config
from panformer.linears._int8 import ZERO, _rounded
from panformer.linears.int8 import Int8
from panformer.linears.packed import Packed
from panformer.ops.activations import ACTIVATIONS
from panformer.ops.maps import activated, together


def maps(use: str, number: int = 3, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    found = []
    for i in range(number):
        plain = nn.Linear(40, 24, bias=i % 2 == 0).requires_grad_(False).to(dtype)
        form = config("linears", use)
        part = form.part(form, 40, 24, plain.bias is not None)
        part.take(plain)
        found.append(part)
    return found


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_activation_in_the_map_is_one_after_it(activation, dtype):
    torch.manual_seed(0)
    (part,) = maps("packed", 1, dtype)
    x = 3 * torch.randn(5, 7, 40, dtype=dtype)
    assert (activation in Packed.fuses) == (activation != "relu2")
    with torch.inference_mode():
        got, plain = activated(part, x, activation), part(x)
        want = ACTIVATIONS[activation](plain.double())
    assert got.shape == want.shape and got.dtype == dtype
    slack = {torch.float32: 2e-6, torch.bfloat16: 2**-7}[dtype]  # one rounding where map and activation make two
    assert (got - want).abs().max() <= slack * want.abs().max().clamp(min=1)


def test_gradients_pass_a_fused_activation():
    (part,) = maps("packed", 1)
    x = torch.randn(5, 40, requires_grad=True)
    (got,) = torch.autograd.grad(activated(part, x, "gelu").sum(), x)
    (want,) = torch.autograd.grad(nn.functional.gelu(nn.functional.linear(x, part.weight, part.bias)).sum(), x)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("use", ["packed", "int8", "int4"])
@pytest.mark.parametrize("grad", [True, False])
def test_together_is_one_by_one(use, grad):
    torch.manual_seed(0)
    parts = maps(use) if use != "int4" else maps({"use": "int4", "group": 20})
    x = torch.randn(2, 9, 40)
    with torch.set_grad_enabled(grad):
        found = together(x, *parts)
        for part, got in zip(parts, found, strict=True):
            assert torch.equal(got, part(x))


def test_maps_of_different_kinds_stay_apart():
    x = torch.randn(4, 40)
    parts = [*maps("int8", 1), nn.Linear(40, 8), *maps("packed", 1)]
    with torch.no_grad():
        for part, got in zip(parts, together(x, *parts), strict=True):
            assert torch.equal(got, part(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_rounded_as_the_formula_says(dtype):
    torch.manual_seed(0)
    x = (torch.randn(200, 64) * torch.logspace(-6, 6, 200)[:, None]).to(dtype)
    x[3], x[4, 0] = 0, 1e30
    codes, top = _rounded(x)
    assert torch.equal(top, x.float().abs().amax(1, keepdim=True))
    live = top[:, 0] > 0
    want = (x.float() * (torch.tensor(127.0) / top)).round() + ZERO
    assert live.sum() == 199 and torch.equal(codes[live].float(), want[live])
    assert codes[live].min() >= 1 and codes.max() == 255


@pytest.mark.parametrize("grad", [True, False])
def test_a_row_of_zeros_answers_the_offset(grad):
    x = torch.randn(3, 40)
    x[1] = 0
    for part in maps("int8", 2):
        with torch.set_grad_enabled(grad):
            want = torch.zeros(24) if part.bias is None else part.bias
            assert torch.equal(part(x)[1], want)


def test_a_row_that_is_not_finite_does_not_look_finite():
    (part,) = maps("int8", 1)
    x = torch.randn(3, 40)
    x[0, 0], x[1, 1] = torch.nan, torch.inf
    with torch.no_grad():
        out = part(x)
    assert isinstance(part, Int8)
    assert not out[:2].isfinite().any() and out[2].isfinite().all()
