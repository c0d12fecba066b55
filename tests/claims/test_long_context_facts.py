"""Facts about kernels under masks and attention over processes: identities hold, their controls do not."""

import pytest

from panformer.claims import judges
from panformer.claims.facts import long_context
from panformer.measure import masks


@pytest.mark.parametrize("kernel", [k for k in masks.KERNELS if k != "naive"])
def test_kernels_agree_under_every_mask_they_take(kernel):
    assert judges.difference(*long_context.agrees(0, kernel, (300,))) < 1e-12
    for mine, plain in zip(*long_context.agrees(0, kernel, (300,), masked=False), strict=True):
        assert (mine - plain).abs().max() > 1e-3, "every mask must change every answer"


def test_every_mask_is_taken_and_no_special_kernel_takes_all():
    share = {k: long_context.taken(0, k) for k in masks.KERNELS}
    assert share["naive"] == share["sdpa"] == share["flex"] == share["tiles"] == 1
    assert all(0 < share[k] < 0.5 for k in ("window", "groups", "gather"))


def test_a_table_has_a_row_for_every_kernel_and_mask():
    rows = masks.table([256], rounds=1)
    assert len(rows) == len(masks.KERNELS) * len(masks.MASKS)
    assert all((r["why"] is None) == ("seconds" in r) for r in rows)
    assert max(r["error"] for r in rows if r["why"] is None) < 1e-5


def test_room_turns_with_the_mask():
    assert long_context.turned(0, "sdpa", "tiles", ("full", "window and first"), "peak", 1024) > 1.3
    assert long_context.turned(0, "sdpa", "tiles", ("full", "causal"), "peak", 1024) <= 1


def test_processes_give_what_one_gives_and_send_what_theory_says():
    for way in ("ring", "zigzag", "ulysses", "usp"):
        assert judges.difference(*long_context.spread(0, way, 2)) < 1e-12
        assert judges.difference(*long_context.spread(0, way, 2, passed=False)) > 1e-2
        assert judges.difference(*long_context.sent(0, way, 2, 4, 4)) == 0
        assert judges.difference(*long_context.sent(0, way, 2, 4, 4, home=False)) > 1e-2


def test_causal_work_is_uneven_in_plain_order_alone():
    assert long_context.uneven(0, "contiguous", "causal") > 1.5
    assert long_context.uneven(0, "zigzag", "causal") == long_context.uneven(0, "contiguous", "full") == 1
