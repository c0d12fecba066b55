"""Facts about approximate attention: nothing is lost where all is seen, and arms differ where they should."""

import pytest

from panformer.claims.facts import approximate, denoising

FEW = {"steps": 3, "length": 32}


def test_errors_of_the_matrix():
    error = {m: approximate.matrix_error(0, m, top=1, **FEW) for m in ("two", "sparse", "window", "svd", "features")}
    assert len(set(error.values())) == 5 and all(0 < e for e in error.values())
    assert approximate.matrix_error(0, "two", top=99, **FEW) < 1e-12
    assert approximate.matrix_error(0, "window", top=99, **FEW) < 1e-12
    assert error["svd"] == pytest.approx(min(error.values())) or error["svd"] < error["features"]


def test_errors_of_the_answer():
    assert approximate.output_error(0, samples=32, draws=1, **FEW) < 1e-12
    assert approximate.output_error(0, samples=8, draws=2, **FEW) > 1e-6
    others = [approximate.output_error(0, by, samples=8, draws=2, **FEW) for by in ("buckets", "features")]
    assert len(set(others)) == 2 and all(e > 1e-6 for e in others)
    assert approximate.output_error(0, "buckets", samples=28, draws=1, **FEW) < 1e-12  # one bucket holds all
    assert approximate.error_exponent(0, draws=2, steps=3, length=64) < 0


def test_a_full_sample_loses_nothing():
    assert approximate.accuracy_lost(0, samples=64, steps=2) == 0


def test_arms_of_the_denoiser_differ():
    loss = {arm: denoising.loss(0, arm, steps=2, tune=2) for arm in ("both", "sparse", "linear", "whole")}
    assert len(set(loss.values())) == 4
    assert denoising.stable_rank(0, "large", steps=2) != denoising.stable_rank(0, "small", steps=2)
