"""Products of queries with a vector per distance: every form is the formula, and the skew holds no vector per pair."""

import pytest
import torch

from panformer.core.layout import Layout
from panformer.measure import cost
from panformer.ops import backend
from panformer.ops.relative_logits import relative_logits

D = torch.float64


def by_hand(q, table, q_pos, k_pos, two_sided):
    reach = table.shape[1] // 2 if two_sided else table.shape[1] - 1
    out = torch.zeros(*q.shape[:3], len(k_pos), dtype=q.dtype)
    for i, a in enumerate(q_pos):
        for j, b in enumerate(k_pos):
            d = max(-reach, min(reach, a - b))
            if two_sided or a >= b:
                out[:, :, i, j] = (q[:, :, i] * table[:, d + reach * two_sided]).sum(-1)
    return out


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("distances", [3, 9, 41])
@pytest.mark.parametrize("form", ["reference", "skew", "picked"])
def test_every_form_is_the_formula(two_sided, distances, form):
    torch.manual_seed(0)
    q, table, at = torch.randn(2, 3, 12, 4, dtype=D), torch.randn(3, distances, 4, dtype=D), Layout.dense(2, 12, 5)
    with backend.only(form):
        out = relative_logits(q, table, at, at, two_sided)
    want = by_hand(q, table, range(12), range(12), two_sided)
    torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-13)


def test_the_skew_takes_whole_sequences_alone():
    q, table = torch.randn(1, 3, 12, 4), torch.randn(3, 9, 4)
    dense, packed = Layout.dense(1, 12), Layout.packed([5, 7])
    why = {name: relative_logits.why(q, table, *at, False)["skew"] for name, at in {
        "dense": (dense, dense), "packed": (packed, packed), "apart": (dense, Layout.dense(1, 12)),
        "gaps": (dense.pick(torch.tensor([0, 2, 3])),) * 2,
    }.items()}  # fmt: skip
    assert why.pop("dense") is None and all(why.values()), why


def test_the_skew_holds_no_vector_for_every_pair():
    q, table, at = torch.randn(1, 2, 128, 32), torch.randn(2, 128, 32), Layout.dense(1, 128)
    peaks = {}
    for form in ("reference", "skew"):
        with backend.only(form):
            peaks[form] = cost.trace(lambda q, table: relative_logits(q, table, at, at, False), q, table).peak
    logits = 4 * 2 * 128 * 128
    assert peaks["reference"] > 32 * logits and peaks["skew"] < 4 * logits, peaks
