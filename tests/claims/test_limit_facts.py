"""Facts about stand-ins for attention: identities hold and their controls do not."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import limits

WHOLE = {
    "bi_former": ({"top": 99}, {"top": 1}),
    "multi_resolution": ({"top": 99}, {"top": 1}),
    "sparse_linear_attention": ({"critical": 99}, {"critical": 1}),
    "kde_former": ({"bucket": 4, "samples": 99}, {"bucket": 4, "samples": 8}),
}
IDENTITIES = {
    **{
        use: (lambda use=use, **o: limits.attention(0, {"use": use, **(o or WHOLE[use][0])}), WHOLE[use][1])
        for use in WHOLE
    },
    "sparse linear": (lambda **o: limits.sparse_linear(0, **o), {"skipped": 0.5}),
    "cross covariance": (lambda **o: limits.cross_covariance(0, **o), {"over": "tokens"}),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_both_sides_agree_and_the_control_does_not(name):
    fact, control = IDENTITIES[name]
    assert judges.difference(*fact()) < 1e-10
    assert judges.difference(*fact(**control)) > 1e-4
