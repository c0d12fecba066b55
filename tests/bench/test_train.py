"""Training steps raced: one model for all, gradients compared before anything is timed, peers that may be missing."""

from __future__ import annotations

import json

import pytest
import torch

from panformer.bench import peers, venv
from panformer.bench import train as suite
from panformer.bench.contest import Plan
from panformer.model.build import build

TINY = {"batch": 2, "length": 12, "layers": 2, "width": 24}


@pytest.fixture(autouse=True)
def _known_limit(monkeypatch):
    monkeypatch.setattr(suite, "matmul_rate", lambda dtype, device: 1e9)


def tokens():
    return torch.randint(0, suite.VOCAB, (2, 12), generator=torch.Generator().manual_seed(0))


def rows_of(result):
    return {(r["task"], r["contestant"], r["precision"]): r for r in result["rows"]}


def test_steps_are_raced_eager_and_compiled(monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(torch, "compile", lambda run: run)
    kept: list = []
    result = suite.train(Plan(rounds=1, keep=kept.append), **TINY)
    found = rows_of(result)
    eager, compiled = suite.LEARNED, f"{suite.LEARNED}, compiled"
    assert set(found) == {
        *((eager, who, p) for who in ("panformer", "transformers") for p in ("fp32", "bf16")),
        (compiled, "panformer", "fp32"),
        *((compiled, who, f"{p} compiled") for who in ("panformer", "plain GPT") for p in ("fp32", "bf16")),
    }
    for (_, _, precision), row in found.items():
        assert row["error"] < (1e-5 if precision.startswith("fp32") else 0.1) and row["share_of_matmul_limit"] > 0
    assert found[eager, "panformer", "bf16"]["error"] > 1e-4  # rounding is seen
    assert [g["wanted"] for g in result["goals"]] == [1.4, 1.4, 1.0, 1.0] and not result["missing"]
    assert kept[0]["missing"] == {"the rest": f"the run ended after {eager}"} and len(kept[0]["rows"]) == 4


def test_without_a_compiler_the_rest_is_raced(monkeypatch):
    pytest.importorskip("transformers")

    def broken(run):
        def call(*args):
            raise RuntimeError("no working C++ compiler\nfound")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    result = suite.train(Plan(rounds=1), **TINY)
    assert result["missing"] == {
        f"{who} {p} compiled": "no working C++ compiler found"
        for p in ("fp32", "bf16")
        for who in ("panformer", "plain GPT")
    }
    assert {g["goal"] for g in result["goals"]} == {f"{p} against transformers" for p in ("fp32", "bf16")}


def test_the_plain_gpt_is_ours():
    ours = build(suite.shape(2, 24, 12), seed=0)
    gpt, x = peers.Gpt(ours), tokens()
    losses = suite.loss(ours, x), gpt(x)
    torch.testing.assert_close(*losses)
    slopes = [torch.autograd.grad(value, table.weight) for value, table in zip(losses, (ours.embed.table, gpt.table))]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)
    assert not {p.data_ptr() for p in ours.parameters()} & {p.data_ptr() for p in gpt.parameters()}


def test_every_weight_of_ours_has_a_place_in_litgpt():
    ours = build(suite.shape(2, 24, 12, rotary=True), seed=0)
    found = peers.for_litgpt(ours)
    assert sum(t.numel() for t in found.values()) == sum(p.numel() for p in ours.parameters())
    assert found["transformer.h.1.attn.qkv.weight"].shape == (72, 24)


def test_litgpt_trains_the_same_model():
    record = venv.home() / "long" / venv.DONE
    if not record.exists() or suite.LITGPT not in json.loads(record.read_text(encoding="utf-8")):
        pytest.skip("litgpt is not installed among the peers: `panformer bench train --peers` does that")
    result = suite.train(Plan(rounds=1, peers=True), **TINY, compiled=False)
    found = rows_of(result)
    assert not result["missing"] and found[suite.ROTARY, "litgpt", "fp32"]["error"] < 1e-4
    assert found[suite.ROTARY, "litgpt", "bf16"]["error"] < 0.1
    assert {g["goal"] for g in result["goals"]} >= {f"{p} against litgpt" for p in ("fp32", "bf16")}
