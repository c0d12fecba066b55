"""Judges can fail: chance is not a win, a real effect is found, a small fault is caught."""

import math

import numpy as np
import pytest
import torch

from panformer.claims import judges, verdict
from panformer.core.errors import EnvironmentGap
from panformer.papers import schema

TRIALS = 500


def compare(rng, seeds, effect=0.0, margin=0.0, lower=False):
    """One simulated comparison: runs with unit spread between seeds."""
    control, again = rng.normal(size=seeds), rng.normal(size=seeds)
    return judges.beats(list(rng.normal(size=seeds) + effect), list(control), list(again), margin, lower).verdict


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_a_against_a_is_not_a_win(seeds):
    rng = np.random.default_rng(seeds)
    found = [compare(rng, seeds) for _ in range(TRIALS)]
    wins, losses = found.count("upheld") / TRIALS, found.count("not upheld") / TRIALS
    # Each is 2.5% at most by design; 5% is five binomial deviations above that.
    assert wins <= 0.05 and losses <= 0.05, f"{wins:.3f} won, {losses:.3f} lost"


def test_equal_accuracies_of_few_answers_are_not_a_win():
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(TRIALS):
        a, b, c = (list(rng.binomial(200, 0.98, size=3) / 200) for _ in range(3))
        wins += judges.beats(a, b, c, 0.0, resolution=1 / 200).verdict == "upheld"
    assert wins / TRIALS <= 0.05, f"{wins / TRIALS:.3f} won"


@pytest.mark.parametrize("lower", [False, True])
def test_a_one_sigma_effect_is_found_with_25_seeds(lower):
    """Paired differences spread by sqrt 2, so 25 seeds give a power of about 0.92; the floor here is 0.8."""
    rng = np.random.default_rng(1)
    found = [compare(rng, 25, -1.0 if lower else 1.0, lower=lower) for _ in range(200)]
    assert found.count("upheld") / 200 > 0.8, f"power {found.count('upheld') / 200}"
    wrong = [compare(rng, 25, 1.0 if lower else -1.0, lower=lower) for _ in range(50)]
    assert wrong.count("not upheld") / 50 > 0.8 and "upheld" not in wrong


def test_a_margin_must_be_cleared_by_the_whole_interval():
    control = [0.5, 0.51, 0.49, 0.5]
    assert judges.beats([0.71, 0.7, 0.7, 0.69], control, control, 0.1).verdict == "upheld"
    assert judges.beats([0.61, 0.6, 0.61, 0.59], control, control, 0.1).verdict == "inconclusive"
    assert judges.beats([0.55, 0.56, 0.55, 0.54], control, control, 0.1).verdict == "not upheld"


def test_a_win_with_a_winning_null_is_inconclusive():
    out = judges.beats([0.9, 0.91, 0.9], [0.5, 0.51, 0.5], [0.7, 0.71, 0.7], 0.1)
    assert out.verdict == "inconclusive" and "A against A" in out.reason


def test_no_worse_than_needs_a_floor_that_fails():
    control, near, far = [0.9, 0.91, 0.9], [0.89, 0.9, 0.895], [0.3, 0.31, 0.3]
    assert judges.beats(near, control, control, -0.05, floor=far).verdict == "upheld"
    assert judges.beats(near, control, control, -0.05, floor=near).verdict == "inconclusive"
    assert judges.beats(far, control, control, -0.05, floor=far).verdict == "not upheld"


def test_a_diverged_run_is_inconclusive():
    assert judges.beats([math.nan, 1.0, 1.0], [0.0] * 3, [0.0] * 3, 0.1).verdict == "inconclusive"


# ---- equal, parity


def equal(fault=0.0, tolerance=1e-9, control=None, dtype=torch.float64):
    def ask(name, seed, options):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
        y = x.clone()
        y[2, 3] += fault + options.get("fault", 0.0)
        return y, x

    check = schema.Equal(judge="equal", fact="a.b", tolerance=tolerance, control=control)
    return judges.equal(check, ask).verdict


def test_equal_catches_a_fault_of_a_millionth():
    assert equal() == "upheld"
    assert equal(fault=1e-6) == "not upheld"
    assert equal(fault=math.nan) == "not upheld"


def test_equal_with_a_control_that_is_equal_too_is_inconclusive():
    assert equal(control=schema.Change(options={"fault": 1e-3})) == "upheld"
    assert equal(control=schema.Change(options={"fault": 0.0})) == "inconclusive"


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        (torch.zeros(3).double(), torch.zeros(3).double(), "both sides are zero"),
        (torch.ones(3), torch.ones(3), "float64"),
        (torch.ones(3).double(), torch.ones(1).double(), "shapes"),
        ((), (), "nothing"),
    ],
)
def test_an_empty_equality_is_refused(left, right, says):
    with pytest.raises(ValueError, match=says):
        judges.difference(left, right)


def test_a_tensor_is_not_compared_with_itself():
    x = torch.ones(3).double()
    with pytest.raises(ValueError, match="itself"):
        judges.difference(x, x)


def test_forbidden_scores_are_equal_only_in_the_same_places():
    a = torch.tensor([0.5, -math.inf, 1.0]).double()
    assert judges.difference(a, a.clone()) == 0
    assert not judges.difference(a, torch.tensor([0.5, 0.0, 1.0]).double()) <= 1e9


def test_parity_without_the_peer_is_inconclusive_and_says_so():
    def absent(name, seed, options):
        raise EnvironmentGap("peer is not installed")

    out = judges.parity(schema.Parity(judge="parity", peer="a.b", tolerance=1e-5), absent)
    assert out.verdict == "inconclusive" and "not installed" in out.reason


def test_parity_sees_a_difference():
    x = torch.ones(3)
    check = schema.Parity(judge="parity", peer="a.b", tolerance=1e-5)
    assert judges.parity(check, lambda n, s, o: (x.clone(), x)).verdict == "upheld"
    assert judges.parity(check, lambda n, s, o: (x + 1e-4, x)).verdict == "not upheld"


# ---- scales, costs


def sweeps(exponent, noise=0.02, count=3, lengths=(64, 128, 256, 512, 1024)):
    rng = np.random.default_rng(0)
    return lengths, [[n**exponent * math.exp(noise * rng.normal()) for n in lengths] for _ in range(count)]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_scales_recovers_a_planted_exponent_and_rejects_others(exponent):
    lengths, values = sweeps(exponent)
    out = judges.scales(lengths, values, (exponent - 0.15, exponent + 0.15))
    assert out.verdict == "upheld" and abs(out.interval.mean - exponent) < 0.05, out.reason
    for wrong in (exponent - 0.5, exponent + 0.5):
        assert judges.scales(lengths, values, (wrong - 0.15, wrong + 0.15)).verdict == "not upheld"


def test_scales_of_what_does_not_change_is_exactly_0():
    out = judges.scales((64, 128, 256), [[1536.0] * 3], (-0.01, 0.01))
    assert out.verdict == "upheld" and out.interval.low == out.interval.high == 0, out.reason


def test_scales_has_the_standard_error_of_the_line():
    fit = pytest.importorskip("scipy.stats").linregress([0, 1, 2, 3], [0, 1.2, 1.9, 3.3])
    found = judges._line([math.exp(i) for i in range(4)], np.array([0, 1.2, 1.9, 3.3]))
    assert found == pytest.approx((fit.slope, fit.stderr))


def test_scales_does_not_trust_a_curve():
    lengths = (64, 128, 256, 512)
    out = judges.scales(lengths, [[20_000 + n * n for n in lengths]], (1.0, 1.5))
    assert out.verdict == "inconclusive", out.reason


def test_scales_of_something_without_a_logarithm_is_inconclusive():
    assert judges.scales((1, 2, 4), [[0.0, 1.0, 2.0]], (0, 1)).verdict == "inconclusive"


def test_costs_judges_a_ratio_and_its_own_noise():
    rng = np.random.default_rng(0)

    def timed(mean, noise=0.03):
        return [mean * math.exp(noise * rng.normal()) for _ in range(9)]

    assert judges.costs(timed(0.5), timed(1), timed(1), (0.4, 0.6)).verdict == "upheld"
    assert judges.costs(timed(0.5), timed(1), timed(1), (0.7, 0.9)).verdict == "not upheld"
    assert judges.costs(timed(0.5, 0.9), timed(1, 0.9), timed(1, 0.9), (0.49, 0.51)).verdict == "inconclusive"
    assert judges.costs(timed(0.5), timed(1), timed(0.5), (0.4, 0.6)).verdict == "inconclusive", "A against A"
    assert judges.costs([8.0] * 2, [64.0] * 2, [64.0] * 2, (0.125, 0.125)).verdict == "upheld", "a count"


def test_costs_of_the_same_thing_are_not_a_gain():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(TRIALS):
        a, b, c = (list(np.exp(0.1 * rng.normal(size=7))) for _ in range(3))
        found.append(judges.costs(a, b, c, (0.0, 1.0)).verdict)
    assert found.count("upheld") / TRIALS <= 0.05


# ---- holds, combining


def test_holds_asks_every_seed_and_a_failing_control():
    assert judges.holds([0.9, 0.95, 1.0], (0.9, None)).verdict == "upheld"
    assert judges.holds([0.9, 0.95, 0.8], (0.9, None)).verdict == "inconclusive"
    assert judges.holds([0.1, 0.2, 0.3], (0.9, None)).verdict == "not upheld"
    assert judges.holds([math.nan] * 3, (None, None)).verdict == "not upheld"
    assert judges.holds([0.9, 0.95, 1.0], (0.9, None), [0.2, 0.1, 0.3]).verdict == "upheld"
    assert judges.holds([0.9, 0.95, 1.0], (0.9, None), [0.2, 0.1, 0.95]).verdict == "inconclusive"


def test_verdicts_combine():
    u, n, i = verdict.UPHELD, verdict.NOT_UPHELD, verdict.INCONCLUSIVE
    assert [verdict.combine(c) for c in ([u, u], [u, i], [u, i, n], [], [i])] == [u, i, n, i, i]


def test_one_sample_decides_nothing():
    assert verdict.clears(verdict.interval([1.0]), 0.0) == verdict.INCONCLUSIVE
    with pytest.raises(ValueError, match="finite"):
        verdict.interval([1.0, math.nan])
