"""Facts about what a position can tell, in float64: places, or distances alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.build import build

Pair = tuple[Tensor, Tensor]


def equal_tokens(seed: int, position: Mapping[str, Any] | str, length: int = 17) -> Pair:
    """What a two-layer encoder answers to one token at every place, and its answer at the first place everywhere."""
    tree = {
        "width": 16, "position": position, "embed": {"use": "tokens", "vocab": 5},
        "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    }  # fmt: skip
    model = build(tree, seed=seed).double().eval()
    _stir(model, seed)
    with torch.no_grad():
        out = model(torch.full((1, length), seed % 5))
    return out, out[:, :1].expand_as(out)


def multiplied_by_one(seed: int, stirred: bool = False, causal: bool = False, length: int = 17) -> Pair:
    """Attention whose weights are multiplied by a Toeplitz matrix of ones, and attention. `stirred` changes the ones."""
    inside = {"use": "t5", "buckets": 8, "reach": 12}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x, at = torch.randn(2, length, 16, dtype=torch.float64), Layout.dense(2, length)
        sides = []
        for position in ({"use": "urpe", "reach": 6, "inside": inside}, inside):
            torch.manual_seed(seed)
            tree = {"use": "attention", "heads": 2, "causal": causal, "position": position}
            part = config("mixers", tree).build(16).double()
            sides.append(part)
    gated, plain = sides
    with torch.no_grad():
        for name in ("q", "k", "v", "o"):
            getattr(plain, name).load_state_dict(getattr(gated, name).state_dict())
        plain.position.load_state_dict(gated.position.inside.state_dict())
        if stirred:
            _stir(gated.position, seed)
    return gated(x, at), plain(x, at)


def _stir(module: torch.nn.Module, seed: int) -> None:
    """Move parameters off their start, where some are 0 or 1 and tell nothing."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
