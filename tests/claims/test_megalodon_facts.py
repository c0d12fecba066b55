"""Facts about Megalodon: both sides agree, and their controls do not."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import megalodon

MODEL = {
    "width": 16, "norm": "timestep", "residual": {"use": "two_hop", "later": "layer"}, "position": "rope",
    "schedule": [{"repeat": 2, "mixer": {"use": "megalodon", "heads": 1, "chunk": 8}, "channel": "glu"}],
}  # fmt: skip
IDENTITIES = {
    "cema": (lambda **o: megalodon.cema(0, length=70, **o), {"turns": False}),
    "timestep": (lambda **o: megalodon.timestep(0, **o), {"keep": False}),
    "streamed": (lambda **o: megalodon.streamed(0, MODEL, pieces=(3, 1, 20), **o), {"keep": False}),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-10
    assert judges.difference(*fact(**control)) > 1e-4
