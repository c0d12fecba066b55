"""Facts about attention that is moved by group elements of its tokens, in float64."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.build import build
from ..tasks.views import turns

Pair = tuple[Tensor, Tensor]


def frame_change(seed: int, side: Literal["world", "own"] = "world", moves: str = "qkv", length: int = 9) -> Pair:
    """A two-layer encoder's answer to tokens with poses g, and with all of them changed to g h: another world.

    `side: own` changes them to h g, every token's own frame, which must not be equal.
    """
    tree = {
        "width": 32, "embed": {"use": "posed", "channels": 17},
        "position": {"use": "gta", "posed": 0.5, "moves": moves},
        "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    }  # fmt: skip
    model, rng = build(tree, seed=seed).double().eval(), torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, 5, generator=rng, dtype=torch.float64)
    g, h = poses(rng, 2, length), poses(rng, 1, 1)
    with torch.no_grad():
        out = [model(torch.cat([x, p[..., :3, :].flatten(-2)], -1)) for p in (g, g @ h if side == "world" else h @ g)]
    return out[1], out[0]


def as_rope(seed: int, moves: str = "qk", length: int = 13) -> Pair:
    """Attention moved by coordinates, queries and keys alone, and attention with rotary positions.

    With `moves: qkv` values turn as well, which must not be equal.
    """
    part, x = _attention(seed, {"use": "gta", "moves": moves}, length)
    rope, _ = _attention(seed, "rope", length)
    at = Layout.dense(2, length)
    return part(x, at), rope(x, at)


def by_pairs(seed: int, moves: str = "qkv", length: int = 7) -> Pair:
    """Attention moved by poses, and the formula for every pair from the relative element g_i g_j^-1.

    With `moves: qk` the part leaves values where they are, which must not be equal.
    """
    part, x = _attention(seed, {"use": "gta", "posed": 1.0, "moves": moves}, length)
    g = poses(torch.Generator().manual_seed(seed), 2, length)
    at = Layout(torch.zeros(2, length, dtype=torch.int64), torch.zeros(2, length, 1, dtype=torch.int64), pose=g)
    q, k, v = (m(x).unflatten(-1, (2, -1, 4)) for m in (part.q, part.k, part.v))  # (B, T, H, n, 4)
    apart = g[:, :, None] @ torch.linalg.inv(g)[:, None]  # (B, T, S, 4, 4)
    logits = torch.einsum("bihnc,bijcd,bjhnd->bhij", q, apart, k) * part.scale
    y = torch.einsum("bhij,bijcd,bjhnd->bihnc", logits.softmax(-1), apart, v)
    return part(x, at), part.o(y.flatten(2))


def poses(rng: torch.Generator, *shape: int) -> Tensor:
    """(..., 4, 4): a rotation and what is added."""
    out = torch.eye(4, dtype=torch.float64).repeat(*shape, 1, 1)
    out[..., :3, :3] = turns(rng, *shape).double()
    out[..., :3, 3] = torch.randn(*shape, 3, generator=rng, dtype=torch.float64)
    return out


def _attention(seed: int, position: Any, length: int) -> tuple[Any, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = config("mixers", {"use": "attention", "heads": 2, "position": position}).build(16).double()
        return part, torch.randn(2, length, 16, dtype=torch.float64)
