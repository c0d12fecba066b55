"""The laws can fail: real parts with one planted fault each, and the law that has to catch it.

Beside it stands a law that the faulty part still obeys: so it is the fault that is found, not a part that is
broken altogether.
"""

from __future__ import annotations

import pytest
import torch

from panformer.mixers.attention import Attention
from panformer.ops import backend
from panformer.ops.attend import attend

from .faulty import (
    AcceptsAnything,
    AnswersWide,
    AsksPadding,
    BoastsOfGrowth,
    BorrowsNothing,
    CarriesOver,
    ClaimsToCouple,
    ClaimsToLookAhead,
    ComparesRows,
    ConvolvesPadding,
    CountsAllKeys,
    CountsPadding,
    CountsPaddingAsLoad,
    CountsTokens,
    DecaysTwice,
    DrawsElsewhere,
    DropsGradient,
    ForgetsDocuments,
    ForgetsStatistics,
    ForgetsToSave,
    HeadsFirst,
    HidesCounter,
    HidesCoupling,
    IgnoresBase,
    IgnoresBias,
    IgnoresStarts,
    KeepsJunk,
    LeaksOneToken,
    LeavesPadding,
    MixesChannelTokens,
    MixesImages,
    NamesNoSource,
    OtherWhenCompiled,
    PaddingEntersState,
    ReadsPadding,
    Recurrence,
    SavesNoise,
    ShowsTheFuture,
    ShrinksForEver,
    StepsOtherwise,
    StreamsNothing,
    SumsNarrowly,
    WrongScaleInChunks,
)
from .laws import LAWS

CAUSAL = {"heads": 2, "causal": True}
PLACED = {**CAUSAL, "position": {"use": "fire", "hidden": 4, "threshold": 6.0}}  # not by distance alone
TURNED = {**CAUSAL, "position": "rope"}
CAPPED = {"experts": 3, "hidden": 6, "capacity": 1.0, "per": "sequence"}

FAULTS = [
    ("causal", LeaksOneToken, CAUSAL, "saves"),
    ("causal", ClaimsToLookAhead, CAUSAL, "packed"),
    ("causal", MixesChannelTokens, {}, "saves"),
    ("pictures", ShowsTheFuture, CAUSAL, "causal"),
    ("packed", ForgetsDocuments, CAUSAL, "steps"),
    ("packed", IgnoresStarts, TURNED, "steps"),
    ("packed", CarriesOver, {}, "chunks"),
    ("packed", CountsAllKeys, {}, "rows"),
    ("padding", ReadsPadding, {"heads": 2}, "rows"),
    ("padding", CountsPadding, {}, "rows"),
    ("padding", KeepsJunk, {}, "rows"),
    ("padding", CountsPaddingAsLoad, {"experts": 4, "hidden": 6}, "packed"),
    ("gradients", DropsGradient, CAUSAL, "steps"),
    ("chunks", WrongScaleInChunks, CAUSAL, "packed"),
    ("chunks", CountsTokens, PLACED, "steps"),
    ("chunks", DecaysTwice, {}, "packed"),
    ("ragged", PaddingEntersState, CAUSAL, "chunks"),
    ("ragged", HidesCounter, TURNED, "reorder"),
    ("ragged", ConvolvesPadding, {}, "chunks"),
    ("reorder", CountsTokens, CAUSAL, "steps"),
    ("reorder", HeadsFirst, CAUSAL, "chunks"),
    ("grows", BoastsOfGrowth, CAUSAL, "packed"),
    ("saves", SavesNoise, {}, "packed"),
    ("saves", ForgetsToSave, {}, "packed"),
    ("settles", ShrinksForEver, {}, "saves"),
    ("configs", AcceptsAnything, {}, "saves"),
    ("matters", IgnoresBias, {"heads": 2, "bias": True}, "configs"),
    ("matters", IgnoresBase, {"base": 500.0}, "configs"),
    ("compiles", OtherWhenCompiled, {}, "packed"),
    ("bf16", AnswersWide, {}, "packed"),
    ("endures", SumsNarrowly, CAUSAL, "steps"),
    ("lends", BorrowsNothing, CAUSAL, "steps"),
    ("declares", StreamsNothing, CAUSAL, "packed"),
    ("declares", NamesNoSource, {}, "packed"),
    ("spans", HidesCoupling, CAPPED, "packed"),
    ("couples", ClaimsToCouple, {"experts": 3, "hidden": 6}, "packed"),
    ("steps", StepsOtherwise, CAUSAL, "chunks"),
    ("chunks", ForgetsStatistics, {}, "packed"),
    ("rows", ComparesRows, {}, "saves"),
    ("lattices", MixesImages, {"heads": 2}, "rows"),
    ("clean", LeavesPadding, {"vocab": 11}, "packed"),
    ("asks", AsksPadding, {}, "configs"),
    ("asks", DrawsElsewhere, {}, "configs"),
]


@pytest.mark.parametrize(("name", "part", "options", "keeps"), FAULTS, ids=[f"{f[1].__name__}-{f[0]}" for f in FAULTS])
def test_fault_is_caught(name, part, options, keeps):
    with pytest.raises(AssertionError) as told:
        LAWS[name][0](part, options)
    line = str(told.value)
    assert "\n" not in line and f"/{part.__name__} " in line and f": {name}: " in line, line
    LAWS[keeps][0](part, options)


@pytest.mark.parametrize("name", ["causal", "packed", "padding", "chunks", "steps", "ragged", "reorder", "gradients"])
def test_the_planted_recurrence_is_right_without_a_fault(name):
    LAWS[name][0](Recurrence, {})


def _planted(change):
    right = attend.kernels[-1]

    def run(*args):
        return change(right.run, *args)

    return (backend.Kernel("planted", right.refuses, run),)


def test_a_kernel_with_a_wrong_scale_is_caught(monkeypatch):
    def scaled(run, q, k, v, score, q_at, k_at, scale, *rest):
        return run(q, k, v, score, q_at, k_at, scale * 1.001, *rest)

    wrong = _planted(scaled)
    monkeypatch.setattr(attend, "kernels", wrong)
    with pytest.raises(AssertionError, match="kernels: kernel attend:planted and its reference differ"):
        LAWS["kernels"][0](Attention, CAUSAL)


def test_a_kernel_with_a_wrong_gradient_is_caught(monkeypatch):
    wrong = _planted(lambda run, q, k, *rest: run(q, k + (k - k.detach()) * 0.01, *rest))
    monkeypatch.setattr(attend, "kernels", wrong)
    with pytest.raises(AssertionError, match="kernels: gradients of kernel attend:planted"):
        LAWS["kernels"][0](Attention, CAUSAL)


def test_a_kernel_that_loses_bits_is_caught(monkeypatch):
    def coarse(run, q, k, v, *rest):
        if q.dtype == torch.bfloat16:
            q, k, v = ((t.float() * 16).round().div(16).to(t.dtype) for t in (q, k, v))
        return run(q, k, v, *rest)

    monkeypatch.setattr(attend, "kernels", _planted(coarse))
    with pytest.raises(AssertionError, match="bf16: errs"):
        LAWS["bf16"][0](Attention, CAUSAL)


def test_every_law_has_a_fault_that_it_catches():
    assert set(LAWS) == {name for name, *_ in FAULTS} | {"kernels"}
