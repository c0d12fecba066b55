"""A token that wipes out the past leaves the digits of what comes after it alone, in float32 too."""

import pytest
import torch
from torch.nn import functional as F

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.delta_rule import delta_rule
from panformer.ops.gated_linear import gated_linear
from panformer.ops.two_sided import two_sided

LENGTH, SIZE = 130, 3
AT = Layout.dense(2, LENGTH)
RUNS = {
    "gated_linear": lambda q, k, v, b, fall: gated_linear(q, k, v, fall[..., None].expand_as(k), AT, None)[0],
    "delta_rule": lambda q, k, v, b, fall: delta_rule(q, k, v, b, fall, AT, None)[0],
    "two_sided": lambda q, k, v, b, fall: two_sided(q, k, v, fall, AT),
}


@pytest.mark.parametrize("name", RUNS)
def test_operators_in_float32_are_those_in_float64(name):
    """Sums of log-decays of -100,000 would be rounded to hundredths; with e^-128 for them they are not."""
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, LENGTH, SIZE, generator=rng) for _ in range(3))
    k, b = F.normalize(k, dim=-1), torch.rand(2, 2, LENGTH, generator=rng)
    hard = torch.rand(2, 2, LENGTH, generator=rng) < 0.1
    fall = torch.where(hard, torch.tensor(-1e5), torch.tensor(-0.01))
    got = RUNS[name](q, k, v, b, fall)
    want = RUNS[name](*(z.double() for z in (q, k, v, b, fall)))
    assert (got - want).abs().max() < 2e-4 * want.abs().max()


def test_mamba_2_resets_by_a_large_step():
    torch.manual_seed(0)
    m = config("mixers", {"use": "mamba2", "heads": 2, "state": 4}).build(8)
    with torch.no_grad():
        m.a_log.fill_(9.0)  # e^9 times a step of a thousandth to a tenth, up to hundreds where the map says so
        m.input.weight[-2:] *= 10
    x = torch.randn(2, LENGTH, 8)
    got = m(x, AT)
    want = m.double()(x.double(), AT)
    assert (got - want).abs().max() < 2e-4 * want.abs().max()
