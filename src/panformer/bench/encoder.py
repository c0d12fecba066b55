"""Sentence embedding: real sentences to unit vectors, tokenising included."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import convert
from ..core.errors import InputError, require
from ..core.layout import pack
from ..model.model import Model
from ..runtime import answers, optimize
from . import folders
from .contest import OUTSIDE, Plan, contest, goal, invite, ours
from .forms import forms, limits, profile, work
from .quality import cosines, probe
from .texts import LONGEST, Sentence, sentences
from .venv import INFERENCE, prepare

PEERS: dict[str, tuple[str, ...]] = {
    "transformers": ("fp32", "bf16"),
    "sentence-transformers": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32", "int8"),
    "ctranslate2": ("fp32", "int8"),
}
JOBS = {"all-MiniLM-L6-v2": 512, "BERT-base size": 96}  # sentences
HALF = ("fp32", "bf16")
OTHERS = 128  # sentences that our 8 bits are fitted to
TOLERANCE = 0.1  # of what `optimize` may change; unit vectors this far apart have a cosine of 0.995


def encoder(plan: Plan, jobs: Mapping[str, int] = JOBS) -> dict[str, Any]:
    """Sentences of the standard library's docstrings, 8 to 256 tokens, to unit vectors, tokenising included."""
    if plan.device != "cpu":
        raise InputError("bench encoder races on a CPU; leave --device out")
    os.environ.setdefault("RAYON_NUM_THREADS", str(plan.threads))  # read when the tokenizer first runs
    require("tokenizers", "hf")
    rows: list[dict[str, Any]] = []
    goals: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    notes: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        real = folders.minilm(Path(home) / "minilm")
        peak = limits()
        python, failed = prepare("inference", INFERENCE, plan.say) if plan.peers else (None, {})
        missing |= failed
        for job, count in jobs.items():
            plan.say(f"{job}: {count} sentences")
            folder = real if job == "all-MiniLM-L6-v2" else folders.bert(Path(home) / "base", real)
            said = sentences(_tokenizer(real), count + OTHERS)
            found, note = _job(job, folder, said[:count], said[count:], plan, python, peak, missing)
            rows, notes[job] = rows + found, note
            goals += _goals(found)
    return {
        "suite": "encoder", "what": encoder.__doc__, "rows": rows, "goals": goals, "missing": missing,
        "limits_flops": peak, "size": notes, "rounds": plan.rounds, "device": "cpu",
    }  # fmt: skip


def _job(
    job: str,
    folder: Path,
    said: Sequence[Sentence],
    others: Sequence[Sentence],
    plan: Plan,
    python: Path | None,
    peak: Mapping[str, float],
    missing: dict[str, str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    texts, labels = [s.text for s in said], [s.module for s in said]
    words = _tokenizer(folder)
    lengths = [len(e.ids) for e in words.encode_batch(texts)]
    model = convert.load(folder).eval()
    some = pack([torch.tensor(e.ids) for e in words.encode_batch([s.text for s in others])])
    own = forms(model, (some,))
    picked = optimize(model, "throughput", sample=(some,), dtype="auto", tolerance=TOLERANCE)
    calls = {n: partial(_embed, m, words, texts) for n, m in {**own, "picked": picked.model}.items()}
    setup = {"folder": str(folder), "texts": str(folder / "texts.json")}
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")

    def compare(answer: Tensor, truth: Tensor) -> dict[str, float]:
        right = probe(answer, labels)
        return {**cosines(answer, truth), "probe": right, "probe_points": right - base}

    base = probe(calls["fp32"]().float(), labels)
    with ExitStack() as stack:
        racing = [ours(name, call) for name, call in calls.items()]
        if python is not None:
            racing += invite(stack, python, OUTSIDE / "peer_encoder.py", PEERS, setup, plan, missing)
        flops = work(model, lengths)
        rows = contest(job, racing, plan, len(texts), "sentences", compare, missing, flops, peak)
    note = {
        "sentences": len(texts), "mean_tokens": round(sum(lengths) / len(lengths), 1), "most_tokens": max(lengths),
        "flops": flops, "picked": picked.dump(),
        "profile": {n: profile(partial(_embed, m, words, texts[::8])) for n, m in own.items()},
    }  # fmt: skip
    return rows, note


def _embed(model: Model, words: Any, texts: Sequence[str]) -> Tensor:
    ids = [torch.tensor(e.ids) for e in words.encode_batch(texts)]
    return torch.stack(answers(model, ids))


def _tokenizer(folder: Path) -> Any:
    found = require("tokenizers", "hf").Tokenizer.from_file(str(folder / "tokenizer.json"))
    found.no_padding()
    found.enable_truncation(LONGEST)
    return found


def _goals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = [
        goal("bf16 against the fastest fp32 or bf16 peer", rows, "bf16", 1.25, HALF),
        goal("bf16 against sentence-transformers", rows, "bf16", 2.0, HALF, "sentence-transformers"),
        goal("int8 against the fastest int8 peer", rows, "int8", 1.5, ("int8",)),
        goal("fp32 against CTranslate2 fp32", rows, "fp32", 1.1, ("fp32",), "ctranslate2"),
    ]
    whole = next(r for r in rows if r["contestant"] == "panformer" and r["precision"] == "int8")
    near = {"goal": "int8 mean cosine to fp32", "wanted": 0.995, "reached": whole["mean_cosine"]}
    lost = {"goal": "int8 probe, points against fp32", "wanted": -0.5, "reached": whole["probe_points"]}
    quality = [{"task": whole["task"], **g, "met": g["reached"] >= g["wanted"]} for g in (near, lost)]
    return [g for g in found if g is not None] + quality
