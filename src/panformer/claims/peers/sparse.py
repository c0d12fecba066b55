"""Sparse attention against transformers, on copied weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ._copy import carry, public, randomise
from .parts import _values

Pair = tuple[list[Tensor], list[Tensor]]


def longformer(seed: int, tokens: int = 3, window: int = 4, length: int = 40) -> Pair:
    """LongformerSelfAttention with its first tokens global; `window` on each side, rows of two lengths."""
    t = public("transformers.models.longformer.modeling_longformer")
    c = t.LongformerConfig(hidden_size=16, num_attention_heads=4, attention_window=[2 * window], num_hidden_layers=1)
    peer = t.LongformerSelfAttention(c, layer_id=0).double().eval()
    randomise(peer, seed)
    tree = {"use": "longformer", "heads": 4, "window": window + 1, "globals": tokens, "bias": True}
    ours = config("mixers", tree).build(16).double().eval()
    names = {"q": "query", "k": "key", "v": "value"}
    rules = [(rf"{a}{end}\.(\w+)", rf"{b}{end}.\1") for a, b in names.items() for end in ("", "_global")]
    theirs = {**peer.state_dict(), "o.weight": torch.eye(16).double(), "o.bias": torch.zeros(16).double()}
    carry(ours, theirs, [*rules, (r"o\.(\w+)", r"o.\1")])
    x, lengths = _values(seed, 2, length, 16), torch.tensor([length, length - 9])
    at = Layout.padded(lengths)
    mask = torch.where(at.valid, 0.0, -10000.0).double()
    mask[:, :tokens] = 10000.0
    with torch.no_grad():
        out = peer(
            x,
            attention_mask=mask,
            is_index_masked=mask < 0,
            is_index_global_attn=mask > 0,
            is_global_attn=True,
        )[0]
        return [ours(x, at)[at.valid]], [out[at.valid]]
