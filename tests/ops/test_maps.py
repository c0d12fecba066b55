"""Plain maps that read one input are one product in training, but not where someone looks at them one by one."""

import pytest
import torch

from panformer.core.families import linear
from panformer.ops import maps as module
from panformer.ops.maps import together


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(module, "LEAST", 0)


def drawn(bias=True):
    torch.manual_seed(0)
    return torch.randn(2, 5, 8).requires_grad_(), [linear(8, n, bias).double() for n in (4, 12, 6)]


@pytest.mark.parametrize("bias", [True, False])
def test_one_product_is_all_of_them_with_their_gradients(bias):
    x, maps = drawn(bias)
    x = x.detach().double().requires_grad_()
    assert module._joined(x, tuple(maps)) == maps
    leaves = [x, *(p for m in maps for p in m.parameters())]
    got, want = together(x, *maps), [m(x) for m in maps]
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)
    slopes = [torch.autograd.grad(sum(y.sin().sum() for y in ys), leaves) for ys in (got, want)]
    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)


def test_maps_that_are_watched_run_one_by_one():
    x, maps = drawn()
    maps = [m.float() for m in maps]
    seen = []
    handle = maps[1].register_forward_hook(lambda m, i, o: seen.append(o))
    together(x, *maps)
    handle.remove()
    assert len(seen) == 1 and module._joined(x, tuple(maps))
    with torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: seen.append(o)):
        together(x, *maps)
    assert len(seen) == 4
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        assert not module._joined(x, tuple(maps))
    with torch.no_grad():
        assert not module._joined(x, tuple(maps))
    other = torch.nn.Linear(8, 4)
    assert not module._joined(x, (*maps, other)) and len(together(x, *maps, other)) == 4
    assert not module._joined(x, (maps[0], linear(8, 4, bias=False)))
