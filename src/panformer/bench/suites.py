"""What is raced: each suite runs ours and the peer on the same weights and inputs, in the same rounds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from ..measure.cost import of_model
from ..model.build import build
from . import peers
from .race import matmul_rate, race

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def encoder(
    rounds: int = 7, device: str = "cpu", layers: int = 12, batch: int = 4, length: int = 128
) -> dict[str, Any]:
    """Forward pass of a BERT-base-size encoder over dense batches."""
    heads, width, vocab = 12, 768, 30522
    peer = peers.bert(layers, width, heads, vocab, 512)
    spec = {**_preset("bert"), "head": None, "objective": None}
    spec["schedule"][0]["repeat"] = layers
    ours = build(spec, seed=0).eval()
    flops = of_model(ours, length, batch).flops
    peers.copy_bert(peer, ours)
    ours, peer = ours.to(device), peer.to(device)
    x = torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        gap = peers.largest_gap(ours(x), peer(x).last_hidden_state)
    rows = []
    for name, dtype in PRECISIONS.items():
        ours, peer = ours.to(dtype), peer.to(dtype)
        with torch.inference_mode():
            times = race({"panformer": partial(ours, x), "transformers": partial(peer, x)}, rounds)
        rows.append(_row(name, times, flops, dtype, device, batch, "sequences"))
    return {"suite": "encoder", "what": encoder.__doc__, "gap_fp32": gap, "rows": rows,
            "size": {"layers": layers, "width": width, "batch": batch, "length": length}, "device": device}  # fmt: skip


def train(rounds: int = 7, device: str = "cpu", batch: int = 8, length: int = 256) -> dict[str, Any]:
    """Training step (forward, backward, AdamW) of a 6-layer, width-384 decoder."""
    layers, width, heads, vocab = 6, 384, 6, 8192
    x = torch.randint(0, vocab, (batch, length), generator=torch.Generator().manual_seed(0)).to(device)
    rows, gap = [], 0.0
    for name, dtype in PRECISIONS.items():
        peer = peers.gpt2(layers, width, heads, vocab, length).train()
        spec = _preset("gpt2") | {"width": width, "position": {"use": "learned", "length": length}}
        spec["embed"] |= {"vocab": vocab}
        spec["schedule"][0] |= {"repeat": layers}
        spec["schedule"][0]["mixer"] |= {"heads": heads}
        spec["head"] |= {"vocab": vocab}
        ours = build(spec, seed=0).train()
        flops = of_model(ours, length, batch).flops
        peers.copy_gpt2(peer, ours)
        ours, peer = ours.to(device), peer.to(device)
        if name == "fp32":
            with torch.no_grad():
                gap = peers.largest_gap(ours(x), peer(x).logits)
        runners = {
            "panformer": _step(ours, lambda m: _causal(m(x), x), dtype),
            "transformers": _step(peer, lambda m: _causal(m(x).logits, x), dtype),
        }
        times = race(runners, rounds)
        rows.append(_row(name, times, 3 * flops, dtype, device, batch * length, "tokens"))
    return {"suite": "train", "what": train.__doc__, "gap_fp32": gap, "rows": rows,
            "size": {"layers": layers, "width": width, "batch": batch, "length": length}, "device": device}  # fmt: skip


SUITES: dict[str, Callable[..., dict[str, Any]]] = {"encoder": encoder, "train": train}


def _step(model: Any, loss: Callable[[Any], torch.Tensor], dtype: torch.dtype) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    device = next(model.parameters()).device.type

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            value = loss(model)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _causal(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), x[:, 1:].flatten())


def _row(
    precision: str, times: Any, flops: float, dtype: torch.dtype, device: str, items: int, unit: str
) -> dict[str, Any]:
    limit = matmul_rate(dtype, device)
    ours, theirs = times["panformer"].median, times["transformers"].median
    return {
        "precision": precision,
        "unit": f"{unit}/s",
        "panformer": round(items / ours, 2),
        "transformers": round(items / theirs, 2),
        "speedup": round(theirs / ours, 3),
        "share_of_matmul_limit": round(flops / ours / limit, 3),
        "seconds": times,
    }


def _preset(name: str) -> dict[str, Any]:
    from ..core.spec import locate
    from ..core.tree import read_tree

    return read_tree(locate(name))
