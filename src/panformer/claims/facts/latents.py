"""Facts about attention over merged latents, in float64: all tokens at once against a cache that is filled token by token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]
TREE = {"use": "temporal_latent_attention", "heads": 2, "kv_rank": 6, "turned_width": 4, "position": "rope"}


def merged(seed: int, stride: int = 2, weights: bool = True, length: int = 13) -> Pair:
    """The mixer's answer to all tokens, and its equations with a cache whose last place takes tokens till it is full.

    `weights: false` adds up the latents as they are, which must not be equal.
    """
    part, x = _mixer(seed, {**TREE, "stride": stride}, 16, length)
    at = Layout.dense(2, length)
    c, turned = part.norm_kv(part.down_kv(x), at), part.position.rotate(part.turned_k(x)[:, None], at)[:, 0]
    q = part.q(x).unflatten(-1, (2, -1)).transpose(1, 2)  # (B, H, T, E + R)
    q, p = q[..., : part.size], part.position.rotate(q[..., part.size :], at)
    cache: list[list[Tensor]] = []  # of every chunk (latent (B, rank), turned part (B, R))
    out = []
    for t in range(length):
        weight = torch.sigmoid(_score(part, t // stride, c[:, t])) if weights else 1.0
        if t % stride:
            cache[-1] = [cache[-1][0] + weight * c[:, t], turned[:, t]]
        else:
            cache.append([weight * c[:, t], turned[:, t]])
        latents, turns = (torch.stack(side, 1)[:, None] for side in zip(*cache, strict=True))  # (B, 1, chunks, .)
        k, v = latents @ part.k.mT, latents @ part.v.mT
        logits = (k * q[:, :, t, None]).sum(-1) + (turns * p[:, :, t, None]).sum(-1)
        out.append(((logits * part.scale).softmax(-1)[..., None] * v).sum(2).flatten(1))
    return part(x, at), part.o(torch.stack(out, 1))


def of_one(seed: int, halved: bool = True, length: int = 13) -> Pair:
    """Chunks of one token, all weights 1/2, and latent attention whose maps of the latent are halved.

    `halved: false` leaves those maps as they are, which must not be equal.
    """
    part, x = _mixer(seed, {**TREE, "stride": 1}, 16, length)
    plain, _ = _mixer(seed, {**TREE, "use": "latent_attention", "norm": "layer", "causal": True}, 16, length)
    with torch.no_grad():
        for p in part.chunk_weight.parameters():
            p.zero_()
        kept = plain.state_dict()
        plain.load_state_dict({name: value for name, value in part.state_dict().items() if name in kept})
        for p in (plain.k, plain.v) if halved else ():
            p.mul_(0.5)
    at = Layout.dense(2, length)
    return part(x, at), plain(x, at)


def _score(part: Any, chunk: int, c: Tensor) -> Tensor:
    """<A wave(chunk), B c>: (B, 1), the wave written out."""
    rate = 10_000.0 ** (-torch.arange(0, c.shape[1], 2, dtype=torch.float64) / c.shape[1])
    wave = torch.stack(((chunk * rate).sin(), (chunk * rate).cos()), 1).flatten()
    return (part.chunk_weight(wave) * part.token_weight(c)).sum(-1, keepdim=True)
