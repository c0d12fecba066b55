"""Every family equals the public implementation, comes back to the bit, and decodes from its cache alike."""

from __future__ import annotations

import pytest

from . import parity

CASES = parity.every()
TOLERANCE = 1e-4  # relative, fp32


def same_answers(case):
    assert parity.measure(case) < TOLERANCE


def comes_back(case):
    assert parity.returned(case) == []


def decodes(case):
    assert parity.decoded(case) < TOLERANCE


@pytest.mark.parametrize(
    ("holds", "case"),
    [
        pytest.param(holds, case, id=f"{holds.__name__}-{family}-{case.architecture}-{i}")
        for i, (family, case) in enumerate(CASES)
        for holds in (comes_back, *([decodes] if case.causal else []), same_answers)
    ],
)
def test_as_transformers(holds, case):
    """Case by case, so that both models of a case are made once; some ways to ask for answers change them, and come last."""
    holds(case)
