"""Products in fp32: torch's own up to rounding, their gradients too, and only where they are said to serve."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from panformer.core import product as module
from panformer.core.maps import Plain, is_plain, linear
from panformer.core.product import on_onednn, product, refuses

needed = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.setattr(module, "_gains", lambda: True)
    monkeypatch.setattr(module, "LEAST", 1)


def drawn(shape=(3, 5, 24), outputs=40, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    shapes = shape, (outputs, shape[-1]), (outputs,)
    return [torch.randn(s, generator=rng, dtype=dtype).requires_grad_() for s in shapes]


def exact(x, weight, bias):
    return F.linear(x.double(), weight.double(), None if bias is None else bias.double())


@needed
@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 5, 24), (2, 0, 24), (257, 130)])
@pytest.mark.parametrize("offset", [True, False])
def test_it_is_the_plain_product_with_its_gradients(shape, offset):
    x, weight, bias = drawn(shape)
    leaves = [x, weight, *[bias] * offset]
    call = x, weight, bias if offset else None
    assert (refuses(*call) is None) == (x.numel() > 0)
    got, want = product(*call), exact(*call)
    push = torch.cos(torch.arange(want.numel())).view(want.shape)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-4)
    found = torch.autograd.grad(got, leaves, push)
    for one, other in zip(found, torch.autograd.grad(want, leaves, push.double()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@needed
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_it_answers_the_same_bits(mode):
    call = drawn()
    want = product(*call)
    with mode():
        assert refuses(*call) is None and torch.equal(product(*call), want)


@needed
def test_inputs_and_slopes_may_lie_in_any_order():
    weight = drawn()[1]
    x = torch.randn(24, 7).t().requires_grad_()
    for of in (lambda y: y.sum(), lambda y: (y.t().contiguous().t() * 2).sum()):
        found, want = (
            torch.autograd.grad(of(run(x, weight, None)), (x, weight)) for run in (product, lambda *a: F.linear(*a))
        )
        for one, other in zip(found, want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@needed
def test_gradients_have_gradients():
    x, weight, bias = drawn()

    def twice(run):
        (slope,) = torch.autograd.grad(run(x, weight, bias).square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), (x, weight))

    for one, other in zip(twice(product), twice(F.linear), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_formats_are_torchs_own(dtype):
    assert "fp32" in refuses(*drawn(dtype=dtype))


def test_it_says_what_it_refuses(monkeypatch):
    call = drawn()
    with torch.autocast("cpu", torch.bfloat16):
        assert "autocast" in refuses(*call)
    with torch.device("meta"):
        assert refuses(*call) is not None
    seen = []
    torch.func.vmap(lambda x: seen.append(refuses(x, *call[1:])) or x)(call[0])
    assert seen and seen[0] is not None
    monkeypatch.setattr(module, "LEAST", 1 << 40)
    assert "multiplications" in refuses(*call)
    monkeypatch.setattr(module, "_gains", lambda: False)
    assert "whole processor" in refuses(*call)


batched = pytest.mark.skipif(not module._keeps_digits(), reason="oneDNN would round products in fp32, or is not asked")


@pytest.fixture
def setting():
    before = module._setting()
    yield module._setting
    module._set(before)


@batched
def test_oneDNN_is_asked_for_as_long_as_somebody_wants_it(setting):
    before = setting()
    with on_onednn():
        with on_onednn():
            assert setting() == "bf16"
        with pytest.raises(KeyError), on_onednn():
            raise KeyError
        assert setting() == "bf16"
    assert setting() == before


@batched
def test_who_wants_fewer_digits_keeps_that(setting):
    module._set("tf32")
    with on_onednn():
        assert setting() == "tf32"
    assert setting() == "tf32"


@batched
def test_what_is_tried_first_is_tried_in_no_context_of_the_caller(setting):
    module._keeps_digits.cache_clear()
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16), on_onednn():
        assert setting() == "bf16"
    module._keeps_digits.cache_clear()
    with FlopCounterMode(display=False) as counted, on_onednn():
        pass
    assert counted.get_total_flops() == 0


@batched
def test_batched_products_keep_all_digits():
    rng = torch.Generator().manual_seed(0)
    for b, m, k, n in ((1, 1, 64, 7), (8, 64, 64, 576), (3, 33, 500, 65), (16, 128, 16, 16)):
        x, y = (torch.randn(s, generator=rng) for s in ((b, m, k), (b, k, n)))
        for a, c in ((x, y), (x.mT.contiguous().mT, y), (x, y.mT.contiguous().mT)):
            want = a.double() @ c.double()
            with on_onednn():
                got = torch.bmm(a, c)
            assert (got - want).norm() <= 1e-6 * want.norm()


def test_elsewhere_nothing_is_set(setting, monkeypatch):
    if not hasattr(torch._C, "_get_fp32_precision_getter"):
        pytest.skip("this torch has no such setting")
    before = setting()
    monkeypatch.setattr(module, "_gains", lambda: False)
    with on_onednn():
        assert setting() == before


def test_maps_are_plain_and_say_so():
    made = linear(8, 4)
    assert type(made) is Plain and is_plain(made) and is_plain(torch.nn.Linear(8, 4))
    assert not is_plain(torch.nn.Bilinear(2, 2, 2)) and isinstance(made, torch.nn.Linear)
