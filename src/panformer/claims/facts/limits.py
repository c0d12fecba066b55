"""Facts about mixers that stand in for softmax attention, in float64: their formula, and where they become attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]


def attention(
    seed: int, mixer: Mapping[str, Any], heads: int = 2, causal: bool = False, width: int = 16, length: int = 37
) -> Pair:
    """A mixer's answer, and that of softmax attention with the same maps q, k, v, o: equal where it refines all."""
    part, x = _mixer(seed, {"heads": heads, **mixer}, width, length)
    whole, _ = _mixer(seed, {"use": "attention", "heads": heads, "causal": causal}, width, length)
    with torch.no_grad():
        for name in ("q", "k", "v", "o"):
            getattr(whole, name).load_state_dict(getattr(part, name).state_dict())
    at = Layout.dense(2, length)
    return part(x, at), whole(x, at)


def sparse_linear(seed: int, skipped: float = 0.0, width: int = 16, length: int = 37) -> Pair:
    """SLA without critical blocks, and linear attention by the same features whose heads go through SLA's linear map.

    `skipped` leaves out that share of the blocks, which must not be equal.
    """
    tree = {"use": "sparse_linear_attention", "heads": 2, "critical": 0, "skipped": skipped}
    part, x = _mixer(seed, tree, width, length)
    whole, _ = _mixer(seed, {"use": "linear_attention", "heads": 2, "feature": "softmax"}, width, length)
    with torch.no_grad():
        torch.nn.init.normal_(part.join.weight, generator=torch.Generator().manual_seed(seed))
        whole.load_state_dict({n: t for n, t in part.state_dict().items() if not n.startswith("join.")})
        torch.nn.init.eye_(whole.o.weight)
    at = Layout.dense(2, length)
    return part(x, at), part.o(part.join(whole(x, at).unflatten(-1, (2, -1))).flatten(2))


def cross_covariance(
    seed: int, width: int = 12, length: int = 10, over: Literal["channels", "tokens"] = "channels"
) -> Pair:
    """Cross-covariance attention of one head, and the means of channels by cosines, one channel after the other.

    `over: tokens` compares tokens by their cosines instead, which must not be equal.
    """
    part, x = _mixer(seed, {"use": "cross_covariance", "heads": 1}, width, length)
    q, k, v = (m(x) if over == "channels" else m(x).mT for m in (part.q, part.k, part.v))
    out = torch.zeros_like(v)
    for i in range(v.shape[-1]):
        cosine = torch.cosine_similarity(q[..., i : i + 1], k, dim=1)  # (B, channels)
        out[..., i] = (v @ (part.tau * cosine).softmax(-1)[..., None])[..., 0]
    return part(x, Layout.dense(2, length)), part.o(out if over == "channels" else out.mT)
