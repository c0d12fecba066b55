"""Facts about attention with expert maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...measure.cost import trace
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def one_expert(seed: int, experts: int = 1, heads: int = 2, width: int = 12, length: int = 9) -> Pair:
    """SwitchHead with one expert, and multi-head attention with a gate on each head's values and on its outputs.

    More `experts`, of which the second side knows the first only, must not be equal.
    """
    options = {"use": "switch_head", "heads": heads, "experts": experts, "top": 1}
    part, x = _mixer(seed, options, width, length)
    q, k = (m(x).unflatten(-1, (heads, -1)) for m in (part.q, part.k))
    first = slice(None, None, experts)
    v = torch.einsum("btd,hed->bthe", x, part.v[first]) * (x @ part.v_router[first].T).sigmoid()[..., None]
    weight = (torch.einsum("bthe,bshe->bhts", q, k) * part.size**-0.5).softmax(-1)
    met = torch.einsum("bhts,bshe->bthe", weight, v) * (x @ part.o_router[first].T).sigmoid()[..., None]
    return part(x, Layout.dense(2, length)), torch.einsum("bthe,hde->btd", met, part.o[first])


def attention_work(seed: int, model: Mapping[str, Any], dense: Mapping[str, Any], length: int = 256) -> float:
    """Operations that grow with the square of the length, of the model's first mixer over those of `dense`."""
    ours = model["schedule"][0]["mixer"]
    return _square(ours, model["width"], length) / _square(dense, model["width"], length)


def _square(tree: Mapping[str, Any], width: int, n: int) -> float:
    """What is left of the operations at 2 n after twice those at n: 2 n^2 times the factor of n^2."""
    part = config("mixers", dict(tree)).build(width).eval()
    one, two = (
        trace(lambda x: part(x, Layout.dense(1, x.shape[1])), torch.zeros(1, m, width)).flops for m in (n, 2 * n)
    )
    return two - 2 * one
