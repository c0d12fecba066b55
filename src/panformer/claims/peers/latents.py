"""Merged latents against the module MTLA of its authors, on copied weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ._copy import carry, public, randomise

Pair = tuple[list[Tensor], list[Tensor]]
RULES = (
    ("q.weight", "wq.weight"), ("down_kv.weight", "down"), ("turned_k.weight", "turned"),
    (r"norm_kv\.(\w+)", r"kv_norm.\1"), ("k", "k"), ("v", "v"), ("o.weight", "wo.weight"),
    (r"chunk_weight\.(\w+)", r"hypernet_down.fc_c.\1"), (r"token_weight\.(\w+)", r"hypernet_down.fc_p.\1"),
)  # fmt: skip


def temporal(seed: int, stride: int = 2, length: int = 11, width: int = 16, streams: bool = False) -> Pair:
    """MultiheadTemporalLatentAttention in training, or (`streams`) one token after the other with its cache."""
    rank, turned, size = 8, 4, 6
    mtla = public("MTLA").MultiheadTemporalLatentAttention
    peer = mtla(width, 2, kv_lora_rank=rank, qk_nope_head_dim=size, qk_rope_head_dim=turned, v_head_dim=5,
                down_rate=stride).eval()  # fmt: skip
    randomise(peer, seed)
    ours = config("mixers", {
        "use": "temporal_latent_attention", "heads": 2, "kv_rank": rank, "turned_width": turned, "head_width": size,
        "value_width": 5, "stride": stride, "position": {"use": "rope", "pairing": "interleaved"},
    }).build(width).eval()  # fmt: skip
    theirs = dict(peer.state_dict())
    theirs["down"], theirs["turned"] = theirs.pop("wkv_a.weight").split((rank, turned))
    fused = theirs.pop("wkv_b.weight").unflatten(0, (2, -1))
    theirs["k"], theirs["v"] = fused.split((size, 5), 1)
    carry(ours, theirs, RULES)
    x = torch.randn(2, length, width, generator=torch.Generator().manual_seed(seed))
    place = torch.arange(length, dtype=torch.float32).expand(2, length)
    with torch.no_grad():
        if not streams:
            return [ours(x, Layout.dense(2, length))], [peer(x, x, x, position=place)]
        kept: dict[str, Any] = {}
        state, mine, answers = ours.start(2, x), [], []
        for t in range(length):
            now = x[:, t : t + 1]
            y, state = ours.step(now, Layout.dense(2, 1, t), state)
            mine.append(y)
            answers.append(peer(now, now, now, position=place[:, t : t + 1], incremental_state=kept))
        return mine, answers
