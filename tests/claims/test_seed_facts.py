"""How far seeds are apart is counted on runs of their own."""

import math

from panformer.claims import registry, run
from panformer.claims.arms import spec_of
from panformer.claims.facts.seeds import apart_beyond
from panformer.papers.schema import Change, Train

TASK = {"use": "addition", "low": 1, "high": 2, "base": 2, "first": "low", "score": "digit"}
MODEL = {"width": 8, "position": "none", "schedule": [{"mixer": {"use": "attention", "heads": 2}}]}
TRAIN = {"steps": 2, "batch": 4, "rate": 1e-2}


def test_the_spread_beyond_the_trained_length_less_that_within():
    near, far = registry.task(TASK), registry.task({**TASK, "test": 5})
    models = {s: run.train_once(spec_of(MODEL, Change(), near.ends()), near, s, Train(**TRAIN)).model for s in (2, 3)}
    within, beyond = ([t.measure(model, s) for s, model in models.items()] for t in (near, far))
    want = max(beyond) - min(beyond) - (max(within) - min(within))
    assert want != 0 and apart_beyond(1, MODEL, TASK, TRAIN, 5, runs=2) == want


def test_a_run_that_diverges_leaves_no_spread():
    assert math.isnan(apart_beyond(0, MODEL, TASK, {**TRAIN, "rate": 1e30, "steps": 8}, 5, runs=2))
