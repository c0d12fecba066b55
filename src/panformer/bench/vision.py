"""Image classification: ViT-tiny and ViT-small at 224 pixels."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import convert
from ..core.errors import InputError
from ..measure.cost import trace
from ..model.model import Model
from ..runtime import optimize
from . import folders
from .contest import OUTSIDE, Plan, contest, goal, invite, ours
from .forms import forms, limits, profile
from .venv import INFERENCE, prepare

PEERS: dict[str, tuple[str, ...]] = {
    "transformers": ("fp32", "bf16"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnxruntime": ("fp32", "int8"),
}
JOBS = {"ViT-tiny": (12, 192, 3), "ViT-small": (12, 384, 6)}  # layers, width, heads
BATCH = 16


def vision(plan: Plan, jobs: Mapping[str, tuple[int, int, int]] = JOBS, batch: int = BATCH) -> dict[str, Any]:
    """A batch of 16 images of 224 x 224 pixels to the logits of 1000 classes, weights drawn."""
    if plan.device != "cpu":
        raise InputError("bench vision races on a CPU; leave --device out")
    rows: list[dict[str, Any]] = []
    goals: list[dict[str, Any] | None] = []
    missing: dict[str, str] = {}
    notes: dict[str, Any] = {}
    peak = limits()
    with tempfile.TemporaryDirectory() as home:
        python, failed = prepare("inference", INFERENCE, plan.say) if plan.peers else (None, {})
        missing |= failed
        images, others = (
            torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(seed)) for seed in range(2)
        )
        file = Path(home) / "images.npy"
        np.save(file, images.numpy())
        for job, size in jobs.items():
            plan.say(f"{job}: {batch} images")
            folder = folders.vit(Path(home) / job, *size)
            model = convert.load(folder).eval()
            own = forms(model, (others,))
            picked = optimize(model, "throughput", sample=(others,), dtype="auto", tolerance=0.05)
            calls = {n: partial(_classify, m, images) for n, m in {**own, "picked": picked.model}.items()}
            flops = trace(model, images).flops
            with ExitStack() as stack:
                racing = [ours(name, call) for name, call in calls.items()]
                if python is not None:
                    setup = {"folder": str(folder), "images": str(file)}
                    racing += invite(stack, python, OUTSIDE / "peer_vision.py", PEERS, setup, plan, missing)
                found = contest(job, racing, plan, batch, "images", _compare, missing, flops, peak)
            rows += found
            goals += _goals(found)
            few = images[:4]
            shares = {n: profile(partial(_classify, m, few)) for n, m in own.items()}
            notes[job] = {"flops": flops, "picked": picked.dump(), "profile": shares}
    return {
        "suite": "vision", "what": vision.__doc__, "rows": rows, "goals": [g for g in goals if g is not None],
        "missing": missing, "limits_flops": peak, "size": notes, "rounds": plan.rounds, "device": "cpu",
    }  # fmt: skip


def _classify(model: Model, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(images.to(next(p.dtype for p in model.parameters())))


def _compare(answer: Tensor, truth: Tensor) -> dict[str, float]:
    return {"same_class": float((answer.argmax(-1) == truth.argmax(-1)).float().mean())}


def _goals(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
    return [
        goal("bf16 against transformers bf16", rows, "bf16", 1.3, ("bf16",), "transformers"),
        goal("bf16 against the fastest bf16 peer", rows, "bf16", 1.0, ("bf16",)),
        goal("int8 against the fastest int8 peer", rows, "int8", 1.0, ("int8",)),
    ]
