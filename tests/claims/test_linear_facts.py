"""Facts about linear attention in place of a softmax: identities hold, their controls do not, and numbers move."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import mimicry, toeplitz

MODEL = {"width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}
MADE = {"model": MODEL, "task": {"use": "mqar", "pairs": 4, "vocab": 16}, "train": {"steps": 20, "batch": 8}}


@pytest.mark.parametrize("causal", [True, False])
def test_the_transform_is_the_formula_and_without_the_bias_it_is_not(causal):
    assert judges.difference(*toeplitz.formula(0, causal, [260, 9])) < 1e-10
    assert judges.difference(*toeplitz.formula(0, causal, [260, 9], biased=False)) > 1e-4


def test_a_run_at_a_mad_rate_diverges_and_one_at_a_tame_rate_does_not():
    tree = {**MODEL, "schedule": [{"repeat": 3, "mixer": {"use": "toeplitz_attention", "heads": 2}, "channel": "mlp"}]}
    text = {"use": "text", "length": 32}
    lost = [toeplitz.diverged(0, tree, text, {"steps": 40, "batch": 8, "rate": r}, runs=1) for r in (3.0, 3e-3)]
    assert lost == [1, 0]


def test_a_map_that_learns_is_nearer_to_the_softmax_and_the_teacher_stays_as_it_was():
    before = mimicry.kept(0, **MADE, feature=None)
    far, near = (mimicry.apart(0, **MADE, feature="hedgehog", what="softmax", steps=n) for n in (0, 40))
    assert near < far
    mimicry.kept(0, **MADE, feature="hedgehog", steps=2, tune=2)
    assert mimicry.kept(0, **MADE, feature=None) == before


def test_codes_save_multiplications_on_long_sequences_alone():
    assert mimicry.multiplies(0, length=1024) < 0.1 < 1 < mimicry.multiplies(0, length=16)
