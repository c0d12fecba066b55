"""What is raced, by name. `dense` needs no peers of its own: transformers runs in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from ..core.spec import locate
from ..core.tree import read_tree
from ..measure.cost import of_model
from ..model.build import build
from . import peers
from .contest import OURS, Plan, goal, largest_gap
from .decode import decode
from .encoder import encoder
from .layer import layer
from .linear import linear
from .long import long
from .pages import pages
from .race import Time, matmul_rate, race
from .step import step
from .train import train
from .vision import vision

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def dense(plan: Plan, layers: int = 12, batch: int = 4, length: int = 128) -> dict[str, Any]:
    """Forward pass of a BERT-base-size encoder over dense batches, as modules: nothing packed, nothing optimised."""
    heads, width, vocab, device = 12, 768, 30522, plan.device
    peer = peers.bert(layers, width, heads, vocab, 512)
    spec = {**read_tree(locate("bert")), "head": None, "objective": None}
    spec["schedule"][0]["repeat"] = layers
    ours = build(spec, seed=0).eval()
    flops = of_model(ours, length, batch).flops
    peers.copy_bert(peer, ours)
    ours, peer = ours.to(device), peer.to(device)
    x = torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        gap = largest_gap(ours(x), peer(x).last_hidden_state)
    rows = []
    for name, dtype in PRECISIONS.items():
        ours, peer = ours.to(dtype), peer.to(dtype)
        with torch.inference_mode():
            times = race({OURS: partial(ours, x), "transformers": partial(peer, x)}, plan.rounds)
        rows += _rows("dense", name, times, gap, batch, "sequences", flops, matmul_rate(dtype, device))
    size = {"layers": layers, "width": width, "batch": batch, "length": length}
    return _told("dense", dense, rows, size, plan)


SUITES: Mapping[str, Callable[[Plan], dict[str, Any]]] = {
    "decode": decode,
    "dense": dense,
    "encoder": encoder,
    "layer": layer,
    "linear": linear,
    "long": long,
    "pages": pages,
    "step": step,
    "train": train,
    "vision": vision,
}


def _rows(
    task: str, precision: str, times: Mapping[str, Time], gap: float, items: int, unit: str, flops: float, limit: float
) -> list[dict[str, Any]]:
    return [
        {
            "task": task, "contestant": name, "precision": precision, "unit": f"{unit}/s",
            "rate": round(items / took.median, 2), "error_fp32": gap,
            "share_of_matmul_limit": round(flops / took.median / limit, 3), "seconds": took,
        }
        for name, took in times.items()
    ]  # fmt: skip


def _told(
    name: str, suite: Callable[..., Any], rows: list[dict[str, Any]], size: dict[str, Any], plan: Plan
) -> dict[str, Any]:
    goals = [goal(f"{p} against transformers", rows, p, 1.0, (p,)) for p in PRECISIONS]
    return {"suite": name, "what": suite.__doc__, "rows": rows, "goals": goals, "missing": {}, "size": size,
            "rounds": plan.rounds, "device": plan.device}  # fmt: skip
