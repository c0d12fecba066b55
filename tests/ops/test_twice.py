"""Every scan, convolution and transform has a second derivative, in each of its forms."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradgradcheck
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from panformer.ops import backend

TWICE = (
    "cema", "cosine", "delta_rule", "digraph", "fourier", "gated_linear", "linear_attention", "linear_attention_chunk",
    "linear_system", "long_conv", "omega_rule", "quasiseparable", "running_sum", "scan2d", "selective_scan",
    "two_sided", "wavelet", "wkv",
)  # fmt: skip
HERE = torch.device("cpu"), torch.float64
FORMS = [
    (operator, name, run)
    for operator in backend.operators()
    if operator.name in TWICE
    for name, run in [
        ("reference", operator.reference),
        *((k.name, k.run) for k in operator.kernels if k.lacks(*HERE) is None),
    ]
]


@pytest.mark.parametrize(("operator", "name", "run"), FORMS, ids=[f"{o.name}-{name}" for o, name, _ in FORMS])
def test_second_derivatives_are_those_that_small_steps_show(operator, name, run):
    flat, tree = tree_flatten(operator.sample(*HERE))
    real = [i for i, x in enumerate(flat) if isinstance(x, Tensor) and x.is_floating_point()]

    def call(*leaves):
        own = dict(zip(real, leaves, strict=True))
        out = tree_leaves(run(*tree_unflatten([own.get(i, x) for i, x in enumerate(flat)], tree)))
        return tuple(y for y in out if isinstance(y, Tensor) and y.requires_grad)

    leaves = [flat[i].clone().requires_grad_() for i in real]
    assert gradgradcheck(call, leaves, fast_mode=True, atol=1e-5)


def test_none_of_them_is_missing():
    assert {o.name for o, _, _ in FORMS} == set(TWICE)
