"""Decoding: 32 new tokens after short prompts, greedily, one text at a time and sixteen together."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import convert
from ..core.errors import InputError, PanformerError
from ..model import io
from ..model.model import Model
from . import folders
from .contest import OURS, OUTSIDE, Plan, contest, goal, invite, ours
from .forms import decoders, profile, read_bytes
from .quality import perplexity
from .race import memory_rate
from .texts import passages
from .venv import INFERENCE, prepare

PEERS: dict[str, tuple[str, ...]] = {
    "transformers": ("fp32", "bf16"),
    "ctranslate2": ("fp32", "int8"),
    "llama.cpp": ("fp32", "bf16", "int8"),
}
JOBS: dict[str, Callable[[Path], Path]] = {"GPT-2 124M size": folders.gpt2, "SmolLM2-135M": folders.smollm2}
BATCHES = (1, 16)
PROMPT, TOKENS = 16, 32
WANTED = {1: 1.2, 16: 1.1}  # int8 over CTranslate2's
COLD = 3.0  # seconds from the start of the process to the first token
SHARE = 0.6  # of what reading the weights alone would take, in int8 at batch 1


def decode(plan: Plan, jobs: Mapping[str, Callable[[Path], Path]] = JOBS, batches: Sequence[int] = BATCHES) -> Any:
    """32 new tokens after prompts of 16, greedily; weights of GPT-2's size drawn, those of SmolLM2 real."""
    if plan.device != "cpu":
        raise InputError("bench decode races on a CPU; leave --device out")
    rows: list[dict[str, Any]] = []
    goals: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    notes: dict[str, Any] = {}
    speed = memory_rate()
    with tempfile.TemporaryDirectory() as home:
        python, failed = prepare("inference", INFERENCE, plan.say) if plan.peers else (None, {})
        missing |= failed
        for job, make in jobs.items():
            plan.say(f"{job}: preparing")
            folder = make(Path(home) / job.replace(" ", "-"))
            model = convert.load(folder).eval()
            own = decoders(model)
            notes[job] = {"bytes": {n: read_bytes(m) for n, m in own.items()}, "prompt": PROMPT, "tokens": TOKENS}
            if "tokenizer.json" in model.travels:
                goals.append(_cold(job, model, Path(home) / "own", plan.rounds))
                notes[job]["perplexity"] = {n: perplexity(m, passages(model)) for n, m in own.items()}
            notes[job]["profile"] = {n: profile(partial(_go_on, m, _prompts(m, 1), 8)) for n, m in own.items()}
            for batch in batches:
                plan.say(f"{job}: batch {batch}")
                task = f"{job}, batch {batch}"
                found = _race(task, folder, own, _prompts(model, batch), python, plan, missing)
                for row in found:
                    if row["contestant"] == OURS:
                        steps = row["rate"] / batch
                        row["share_of_bandwidth"] = round(steps * notes[job]["bytes"][row["precision"]] / speed, 3)
                rows += found
                goals += _goals(found, batch)
    return {
        "suite": "decode", "what": decode.__doc__, "rows": rows, "goals": goals, "missing": missing,
        "bytes_per_second": speed, "size": notes, "rounds": plan.rounds, "device": "cpu",
    }  # fmt: skip


def _race(
    task: str,
    folder: Path,
    own: Mapping[str, Model],
    prompts: Tensor,
    python: Path | None,
    plan: Plan,
    missing: dict[str, str],
) -> list[dict[str, Any]]:
    file = folder.parent / "prompts.npy"
    np.save(file, prompts.numpy())
    racing = [ours(n, partial(_go_on, m, prompts), partial(_scores, m, prompts)) for n, m in own.items()]
    with ExitStack() as stack:
        if python is not None:
            setup = {"folder": str(folder), "prompts": str(file), "tokens": TOKENS}
            racing += invite(stack, python, OUTSIDE / "peer_decode.py", PEERS, setup, plan, missing)
        return contest(task, racing, plan, len(prompts) * TOKENS, "tokens", _compare, missing)


def _cold(job: str, model: Model, to: Path, rounds: int) -> dict[str, Any]:
    """From the start of `panformer generate` to its first words; the files lie in the system's memory."""
    command = [sys.executable, "-m", "panformer", "generate", str(io.save(model, to)), "--prompt", "The capital of"]
    took = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        with subprocess.Popen([*command, "--tokens", "2"], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.read(1)
            took.append(time.perf_counter() - began)
            process.stdout.read()  # what is left: a pipe closed early would be an error there
        if not said or process.returncode:
            raise PanformerError(f"bench: generate ended with code {process.returncode} after {len(said)} letters")
    seconds = round(statistics.median(took[1:]), 2)
    says = "seconds from a cold start of `panformer generate` to the first token, at most"
    return {"task": job, "goal": says, "wanted": COLD, "reached": seconds, "met": seconds <= COLD}


def _prompts(model: Model, batch: int) -> Tensor:
    head: Any = model.head
    return torch.randint(1, head.vocab, (batch, PROMPT), generator=torch.Generator().manual_seed(0))


def _go_on(model: Model, prompts: Tensor, tokens: int = TOKENS) -> Tensor:
    return torch.stack([g.ids for g in model.generate(prompts, tokens=tokens)])


def _scores(model: Model, prompts: Tensor) -> Tensor:
    """Log-probabilities (B, V) of the first new token."""
    with torch.inference_mode():
        return model.last(prompts, model.start(len(prompts)))[0].float().log_softmax(-1)


def _compare(answer: Tensor, truth: Tensor) -> dict[str, float]:
    return {"same_token": float((answer.argmax(-1) == truth.argmax(-1)).float().mean())}


def _goals(rows: Sequence[Mapping[str, Any]], batch: int) -> list[dict[str, Any]]:
    found = [
        goal("int8 against CTranslate2 int8", rows, "int8", WANTED[batch], ("int8",), "ctranslate2"),
        goal("fp32 against CTranslate2 fp32", rows, "fp32", 1.0, ("fp32",), "ctranslate2"),
    ]
    if batch == 1:
        (mine,) = [r for r in rows if r["contestant"] == OURS and r["precision"] == "int8"]
        share = mine["share_of_bandwidth"]
        says = "int8, share of the rate at which the weights can be read"
        found.append({"task": mine["task"], "goal": says, "wanted": SHARE, "reached": share, "met": share >= SHARE})
    return [g for g in found if g is not None]
