"""Facts about query heads that are dealt out to heads of keys."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def equal_norms(seed: int, deal: str = "now", same: bool = True, passes: int = 2, length: int = 11) -> Pair:
    """Dealt attention of six heads and three groups, and grouped-query attention with the same maps.

    The keys of all groups are turned copies of one, so that their norms are equal while `passes` of training deal;
    `same: false` leaves them as drawn, times 1, 2 and 3, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "dealt_attention", "heads": 6, "kv_heads": 3, "deal": deal}, 24, length)
    plain, _ = _mixer(seed, {"use": "attention", "heads": 6, "kv_heads": 3}, 24, length)
    rng, at = torch.Generator().manual_seed(seed), Layout.dense(2, length)
    with torch.no_grad():
        keys = part.k.weight.unflatten(0, (3, -1))
        for g in range(3):
            turn = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64)).Q
            keys[g] = turn @ keys[0] if same else (g + 1) * keys[g]
        part.train()
        for i in range(passes):
            part(x * (i + 1), at)
    part.eval()
    learned = {name: value for name, value in part.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(learned)
    return part(x, at), plain(x, at)
