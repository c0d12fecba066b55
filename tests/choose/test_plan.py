"""The minutes are shared out evenly, and never over."""

import pytest

from panformer.choose.plan import FIRST, SEARCH, check_minutes, final_plan, needed, reserve, search_plan
from panformer.choose.trial import LEAST, Pace
from panformer.core.errors import InputError

FAST = {name: Pace(0.005, 0.02) for name in "abcdefgh"}


@pytest.mark.parametrize("left", [90, 150, 500, 3000])
def test_search_and_finals_fit_the_time(left):
    plan = search_plan(left / 60, left, FAST)
    assert not plan["short"]
    search = plan["trial"] * len(plan["mixers"]) + plan["family"] * plan["kept"]
    final = final_plan(left - search, plan["kept"], 3, [])
    whole = search + final.finalists * 3 * final.seconds + reserve(final.finalists)
    assert whole == pytest.approx(left, rel=0.02), f"{whole:.0f} s planned of {left}"
    assert plan["family"] >= plan["trial"], "the second round must be longer than a trial"


def test_more_time_keeps_more_mixers():
    kept = [search_plan(m, 60 * m, FAST)["kept"] for m in (2, 10, 60)]
    assert kept == sorted(kept) and kept[-1] > kept[0]


def test_a_slow_mixer_is_left_out_with_its_reason():
    plan = search_plan(2, 120, {**FAST, "slow": Pace(2.0, 1.0)})
    assert "slow" not in plan["mixers"]
    assert plan["short"] == {"slow": "one trial takes 56.0 s, over its equal share of the minutes"}
    assert len(plan["mixers"]) == len(FAST)


def test_too_little_names_what_would_do():
    with pytest.raises(InputError, match=r"--minutes 0.2 is too little to try 2 mixers here; try (\d+\.\d)") as fault:
        search_plan(0.2, 5, FAST)
    enough = float(str(fault.value).split()[-1])
    least = {name: p for name, p in FAST.items() if name in "ab"}
    assert len(search_plan(enough, 60 * enough - 7, least)["mixers"]) == 2, "what is asked for must be enough"


def test_probes_end_when_the_minutes_can_no_longer_be_enough():
    check_minutes(2, 120, 80)
    check_minutes(2, needed(2), 80, 79, 90)
    with pytest.raises(InputError, match=r"--minutes 1 is too little to try 2 mixers here; try 2\.") as fault:
        check_minutes(1, needed(2) - 1, 80, 20, 20)
    enough = float(str(fault.value).split()[-1])
    check_minutes(enough, 60 * enough - 33 - 60, 80, 80, 80)
    with pytest.raises(InputError, match="try 1 mixer"):
        check_minutes(0.1, 6, 1)


def test_one_mixer_may_stand_alone():
    assert search_plan(1, 60, {"a": FAST["a"]})["mixers"] == ["a"]


def test_finals_count_on_the_machine_as_it_was_in_the_search():
    assert final_plan(100, 2, 3, [(10.0, 20.0), (5.0, 10.0)]).drag == 2.0
    assert final_plan(100, 2, 3, [(10.0, 900.0)]).drag == 3.0
    assert final_plan(100, 2, 3, []).drag == 1.0


def test_steps_count_validations_in():
    pace = Pace(0.1, 0.5)
    assert pace.steps(10) == 60
    assert pace.seconds(60, 8) == pytest.approx(10)
    assert pace.steps(0.1) == LEAST
    assert 0 < FIRST < 1 and 0 < SEARCH < 1
