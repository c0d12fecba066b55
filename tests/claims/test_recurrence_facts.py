"""Facts about recurrences and two-sided mixers: identities hold, their controls do not, and ranks are counted."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import recurrences, sides

IDENTITIES = {
    "delta": (lambda **o: recurrences.delta_blocks(0, sizes=(1, 3, 16), length=20, **o), {"corrects": False}),
    "wkv": (lambda **o: recurrences.wkv(0, length=9, **o), {"bonus": False}),
    "aaren": (lambda **o: recurrences.aaren(0, length=9, **o), {"past": False}),
    "large": (lambda **o: recurrences.aaren(0, scale=3000, length=9, **o), {"past": False}),
    "lion": (lambda **o: sides.lion(0, length=20, **o), {"halved": False}),
    "hydra": (lambda **o: sides.hydra(0, length=9, **o), {"diagonal": False}),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-10
    assert judges.difference(*fact(**control)) > 1e-4


def test_later_tokens_do_not_matter_and_rank_is_that_of_the_state():
    one, other = sides.after(0, change=4, length=9)
    assert (one == other).all()
    one, other = sides.after(0, change=4, length=9, masked=False)
    assert (one != other).any()
    assert sides.rank(0, state=2, length=9) == 2 and sides.rank(0, state=3, length=9) == 3
