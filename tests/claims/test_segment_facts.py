"""Facts about the Omega rule and memory tokens: identities hold, their controls do not, and windows hold more pairs."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import memory_tokens, omega

IDENTITIES = {
    "delta": (lambda **o: omega.delta(0, length=9, **o), {"window": 2}),
    "delta in chunks": (lambda **o: omega.delta(0, length=9, **o), {"chunk": 2}),
    "chunks": (lambda **o: omega.chunks(0, length=13, chunk=4, **{"other": 4, **o}), {"other": 3}),
    "momentum": (lambda **o: omega.chunks(0, "momentum", length=13, chunk=4, **{"other": 4, **o}), {"other": 3}),
    "muon": (lambda **o: omega.chunks(0, "muon", length=13, chunk=4, **{"other": 4, **o}), {"other": 3}),
    "series": (lambda **o: omega.series(0, degree=3, **{"to": 3, **o}), {"to": 2}),
    "newton": (lambda **o: omega.newton_schulz(0, **o), {"to": 4}),
    "segments": (lambda **o: memory_tokens.segments(0, **o), {"memory": 2}),
    "one segment": (lambda **o: memory_tokens.one_segment(0, **o), {"size": 14}),
    "written out": (lambda **o: memory_tokens.written_out(0, **o), {"passed": False}),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-10
    assert judges.difference(*fact(**control)) > 1e-4


def test_a_memory_recalls_what_fits_and_not_what_does_not():
    assert omega.recalled(0, window=1, pairs=2, rows=16) > 0.95
    assert omega.recalled(0, window=1, pairs=24, rows=16) < 0.5
