"""Facts about Legendre memories and spikes: both sides agree, and the control does not."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import legendre
from panformer.papers import catalogue

IDENTITIES = {
    "discrete": (lambda **o: legendre.discrete(0, order=20, **o), {"hold": False}),
    "fft": (lambda **o: legendre.memory(0, order=6, length=90, **o), {"fades": False}),
    "blocks": (lambda **o: legendre.memory(0, form="blocks", order=6, length=90, **o), {"fades": False}),
    "subtract": (lambda **o: legendre.spikes(0, **o), {"reaches": False}),
    "zero": (lambda **o: legendre.spikes(0, reset="zero", **o), {"reaches": False}),
    "stopped": (
        lambda **o: legendre.stopped(0, model=catalogue.find("lmuformer").entry.model, **o),
        {"goes_on": False},
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-10
    assert judges.difference(*fact(**control)) > 1e-4
