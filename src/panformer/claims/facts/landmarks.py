"""Facts about attention through a few landmarks: its limits in float64, and how few could do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...ops.attend import merge_heads, split_heads
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def linformer(seed: int, heads: int = 2, width: int = 16, length: int = 13, identity: bool = True) -> Pair:
    """Linformer with as many keys as tokens and E = F = 1, and softmax attention with the same maps.

    `identity: false` leaves E and F as they were drawn, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "linformer", "heads": heads, "length": length, "rank": length}, width, length)
    whole, _ = _mixer(seed, {"use": "attention", "heads": heads}, width, length)
    with torch.no_grad():
        if identity:
            part.to_keys.copy_(torch.eye(length, dtype=x.dtype))
            part.to_values.copy_(torch.eye(length, dtype=x.dtype))
        for name in ("q", "k", "v", "o"):
            getattr(whole, name).load_state_dict(getattr(part, name).state_dict())
    at = Layout.dense(2, length)
    return part(x, at), whole(x, at)


def agents(
    seed: int,
    heads: int = 2,
    many: int = 4,
    width: int = 16,
    length: int = 15,
    over: Literal["keys", "agents"] = "keys",
) -> Pair:
    """Agent attention, and linear attention phi(q_i) . sum_j psi(k_j) v_j' with its two maps, one key after the other.

    phi(q) = softmax(q a' / sqrt(E)); psi(k_j) is column j of softmax(a k' / sqrt(E)), normalised over the keys.
    `over: agents` normalises psi over the agents, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "agent_attention", "heads": heads, "agents": many, "conv": None}, width, length)
    q, k, v = (split_heads(m(x), heads) for m in (part.q, part.k, part.v))  # (B, H, L, E)
    owner = torch.arange(length) * many // length
    a = torch.stack([q[:, :, owner == i].mean(2) for i in range(many)], 2)
    scale = q.shape[-1] ** -0.5
    phi = (q @ a.mT * scale).softmax(-1)  # (B, H, L, M)
    psi = (k @ a.mT * scale).softmax(2 if over == "keys" else 3)  # (B, H, L, M)
    held = torch.zeros(*phi.shape[:2], many, v.shape[-1], dtype=x.dtype)
    for j in range(length):
        held = held + psi[:, :, j, :, None] * v[:, :, j, None]
    return part(x, Layout.dense(2, length)), part.o(merge_heads(phi @ held))


def spectrum(
    seed: int, model: Mapping[str, Any], steps: int = 100, length: int = 256, rank: int = 64, shuffled: bool = False
) -> float:
    """Share of the first `rank` singular values in the sum of all, mean over the attention matrices of a model.

    The model, whose mixers are `attention`, is first trained to fill in masked bytes of text. `shuffled` puts the
    logits of each matrix in random places: the same numbers without their order. Wang et al. 2020, figure 1.
    """
    task = registry.task({"use": "text", "form": "masked", "length": length})
    done = run.train_once(spec_of(model, Change(), task.ends()), task, seed, Train(steps=steps, batch=16))
    rng = torch.Generator().manual_seed(seed)
    shares = []
    for logits in _logits(done.model, task.batch(rng, 4).x):
        if shuffled:
            flat = logits.flatten(2)
            logits = flat.gather(2, torch.rand(flat.shape, generator=rng).argsort(-1)).view_as(logits)
        values = torch.linalg.svdvals(logits.softmax(-1))
        shares.append(values[..., :rank].sum(-1) / values.sum(-1))
    return float(torch.cat(shares).mean())


@torch.no_grad()
def _logits(model: Any, x: Tensor) -> list[Tensor]:
    """q k' / sqrt(E) of every layer, (B, H, T, T) each."""
    mixers = [layer.mixer for layer in model.trunk.each()]
    kept: list[Tensor] = []

    def keep(mixer: Any, given: tuple[Any, ...], out: Tensor) -> None:
        q, k = (split_heads(m(given[0]), mixer.heads) for m in (mixer.q, mixer.k))
        kept.append(q @ k.mT * mixer.scale)

    hooks = [m.register_forward_hook(keep) for m in mixers]
    model.eval()(x)
    for hook in hooks:
        hook.remove()
    return kept
