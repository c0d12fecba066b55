"""Stand-ins for linear maps: near the map they replace, the same in any batch, whole after saving, trainable around."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import panformer
from panformer.core.errors import InputError
from panformer.core.part import config, find, known
from panformer.linears import _int8

SPEC = {
    "width": 64,
    "causal": True,
    "position": "rope",
    "embed": {"use": "tokens", "vocab": 50},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 4, "bias": True}, "channel": "mlp"}],
    "head": {"use": "lm", "vocab": 50},
}
# error over the size of the answer, weights and inputs normal
NEAR = {"packed": 1e-6, "int8": 0.02, "int8_static": 0.02, "int4": 0.2}
USES = [use for use in known("linears") if not find("linears", use).learns]


def stand_in(use: str, inputs: int = 128, outputs: int = 48, bias: bool = True, seed: int = 0, **options):
    torch.manual_seed(seed)
    plain = nn.Linear(inputs, outputs, bias)
    nn.init.normal_(plain.weight)
    part = config("linears", {"use": use, **options}).part(
        config("linears", {"use": use, **options}), inputs, outputs, bias
    )
    part.take(plain)
    return plain, part


def test_every_stand_in_has_a_tolerance():
    assert set(NEAR) == set(USES)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("rows", [1, 2, 7, 33, 300])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_near_the_map(use, rows, bias, dtype):
    plain, part = stand_in(use, bias=bias)
    x = torch.randn(rows, 128)
    x[0] = 0
    with torch.no_grad():
        want = plain(x)
        got = part.to(dtype)(x.to(dtype))
    assert got.dtype == dtype and got.shape == want.shape and got.isfinite().all()
    slack = 0.01 if dtype == torch.bfloat16 else 0.0
    assert (got.float() - want).norm() <= (NEAR[use] + slack) * want.norm()


@pytest.mark.parametrize("use", USES)
def test_the_fast_way_is_the_slow_way(use):
    """Gradients on takes the plain form, inference oneDNN's."""
    _, part = stand_in(use)
    for rows in (1, 5, 64):
        x = torch.randn(rows, 128)
        slow = part(x.requires_grad_())
        with torch.no_grad():
            fast = part(x)
        # 8-bit activations may round a tie differently; int4's product rounds x to bf16
        assert (fast - slow).norm() < {"packed": 1e-6, "int8": 2e-3, "int8_static": 2e-3, "int4": 5e-3}[
            use
        ] * slow.norm()


@pytest.mark.parametrize("use", ["packed", "int8"])
def test_a_row_does_not_depend_on_its_neighbours(use):
    _, part = stand_in(use)
    x = torch.randn(9, 128) * torch.logspace(-3, 3, 9)[:, None]
    with torch.no_grad():
        whole, alone = part(x), torch.cat([part(row[None]) for row in x])
    assert ((whole - alone).norm(dim=1) <= 1e-6 * alone.norm(dim=1)).all()


@pytest.mark.parametrize("use", USES)
def test_gradients_reach_the_input(use):
    plain, part = stand_in(use)
    x = torch.randn(5, 128, requires_grad=True)
    weight = torch.randn(5, 48)
    (theirs,) = torch.autograd.grad((plain(x) * weight).sum(), x)
    (ours,) = torch.autograd.grad((part(x) * weight).sum(), x)
    assert (ours - theirs).norm() < NEAR[use] * theirs.norm()


@pytest.mark.parametrize("use", USES)
def test_a_new_weight_is_seen(use):
    _, part = stand_in(use)
    other, _ = stand_in(use, seed=1)
    x = torch.randn(3, 128)
    with torch.no_grad():
        part(x)
        if use == "packed":
            part.weight.copy_(other.weight)
            part.bias.copy_(other.bias)
        else:
            part.take(other)
        assert (part(x) - other(x)).norm() < NEAR[use] * other(x).norm()


@pytest.mark.parametrize("use", USES)
def test_a_model_with_stand_ins_is_saved_and_loaded(use, tmp_path):
    tree = {**SPEC, "linears": [{"where": "trunk.*", "use": {"use": use}}]}
    model = panformer.build(tree, seed=0).eval()
    x = torch.randint(0, 50, (2, 11))
    panformer.save(model, tmp_path / "model")
    again = panformer.load(tmp_path / "model")
    with torch.no_grad():
        want = model(x)
        assert torch.equal(again(x), want)
        assert torch.equal(copy.deepcopy(again)(x), want)
        near = panformer.build(SPEC, seed=0).eval()(x)
    assert (want - near).norm() < 1.5 * NEAR[use] * near.norm()  # errors of several maps add up


def test_scales_stay_exact_in_bf16():
    _, part = stand_in("int8")
    assert torch.equal(part.to(torch.bfloat16).scale, stand_in("int8")[1].scale)


def test_what_fits_nothing_is_refused():
    with pytest.raises(InputError, match="no linear map of this model fits"):
        panformer.build({**SPEC, "linears": [{"where": "trunk.nothing", "use": "int8"}]})
    with pytest.raises(InputError, match="int4: 10 inputs do not divide"):
        stand_in("int4", inputs=10, group=4)
    with pytest.raises(InputError, match="unknown linear part 'int3'"):
        panformer.build({**SPEC, "linears": [{"use": "int3"}]})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_one_row_of_int8_has_a_product_of_its_own_with_the_same_bits(monkeypatch, bias, dtype):
    if not _int8.row_product_is_exact():
        pytest.skip("this machine has no exact sums of 8-bit products for one row")
    _, part = stand_in("int8", 48, 80, bias)
    part.to(dtype)
    x = torch.randn(5, 48, dtype=dtype)
    x[1] = 0
    with torch.inference_mode():
        alone, together = torch.cat([part(row[None]) for row in x]), part(x)
        assert part._row is not None and torch.equal(alone, together)
        monkeypatch.setattr(_int8, "row_product", lambda whole, packed: torch.zeros(1, 80))
        assert not torch.equal(part(x[:1]), alone[:1])
