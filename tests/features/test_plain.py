"""Feature maps without parameters: their formulas, and what every feature map must hold."""

import pytest
import torch

from panformer.core.part import config, find, known

HEADS, SIZE = 2, 4
FORMULAS = {
    "elu": lambda x: torch.where(x > 0, x + 1, x.exp()),
    "relu": lambda x: x.clamp(min=0) + 0.001,
    "softplus": lambda x: x.exp().log1p(),
    "softmax": lambda x: x.exp() / x.exp().sum(-1, keepdim=True),
    "square": lambda x: x.pow(2),
}


def values(seed=0, scale=1.0):
    return scale * torch.randn(3, HEADS, 11, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", FORMULAS)
def test_is_its_formula(name):
    q, k = values(0), values(1)
    feature = config("features", name).build(HEADS, SIZE)
    for got, x in zip(feature(q, k), (q, k), strict=True):
        torch.testing.assert_close(got, FORMULAS[name](x))
    assert feature.size == SIZE


@pytest.mark.parametrize("name", known("features"))
def test_weights_are_never_negative_and_the_width_is_as_told(name):
    for options in find("features", name).examples:
        torch.manual_seed(0)
        feature = config("features", {"use": name, **options}).build(HEADS, SIZE).double()
        q, k = feature(values(0, 3.0), values(1, 3.0))
        assert q.shape[-1] == k.shape[-1] == feature.size
        assert ((q @ k.mT).min() >= -1e-12) != feature.signed  # a part that says it goes below 0 must be seen to
