"""Facts about long convolutions: they hold, and what each control plants breaks them."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import long_conv

HYENA = {"use": "hyena", "length": 32, "bands": 3, "hidden": 8}


@pytest.mark.parametrize("causal", [True, False])
def test_transforms_are_toeplitz_matrices_and_shifted_ones_are_not(causal):
    assert judges.difference(*long_conv.toeplitz(0, [70, 9], causal)) < 1e-10
    assert judges.difference(*long_conv.toeplitz(0, [70, 9], causal, shifted=1)) > 1e-3


def test_only_a_cycle_without_padding_leaks():
    assert long_conv.leak(0) < 1e-12
    assert long_conv.leak(0, padded=False) > 0.1


@pytest.mark.parametrize("causal", [True, False])
def test_hyena_is_a_product_of_matrices_with_its_gates_alone(causal):
    tree = {**HYENA, "causal": causal, "order": 3}
    assert judges.difference(*long_conv.product(0, tree, 20)) < 1e-10
    assert judges.difference(*long_conv.product(0, tree, 20, gated=False)) > 1e-3


def test_time_over_itself_is_about_one():
    tree = {**HYENA, "causal": True}
    assert 0.2 < long_conv.time_over(0, tree, tree, 64, 16) < 5
