"""A whole model on a sequence that lies on several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from ..core.errors import InputError
from ..core.layout import Batch, Layout
from ..core.score import Score
from ..model.model import Model
from ..model.operators import swapped
from .attend import attend
from .grid import Spread


def run(model: Model, x: Tensor, spread: Spread) -> Tensor:
    """The head's answers at this process's tokens (B, t, ...); x (B, T) is the whole input, the same in all processes.

    Only attention looks at other tokens, so everything else runs where the tokens lie; a model of which that is not true
    is refused. To train, take the loss of own answers over the count of all, go backward, and `total` the gradients.
    """
    why = _why_not(model)
    if why:
        raise InputError(f"parallel: {why}")

    def operator(
        q: Tensor, k: Tensor, v: Tensor, score: Score, q_at: Layout, k_at: Layout, scale: float,
        dropout: float = 0.0, cap: float | None = None,
    ) -> Tensor:  # fmt: skip
        return attend(q, k, v, score, spread, scale, cap)

    with swapped(model, operator):
        return model(Batch(spread.share(x), spread.here))


def total(model: nn.Module) -> None:
    """Add up the gradients of all processes, in each of them."""
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            dist.all_reduce(p.grad)


def _why_not(model: Model) -> str | None:
    """What in this model would look at tokens of other processes without knowing."""
    if model.encoder is not None:
        return "the model has an encoder"
    if model.embed.use() != "tokens":
        return f"embed {model.embed.use()!r} may look around; `tokens` does not"
    if model.trunk.reducers:
        return "the model merges tokens"
    if model.head is not None and model.head.pools:
        return f"head {model.head.use()!r} reads all tokens at once"
    for layer in model.trunk.each():
        mixers: list[Any] = [m for m in (layer.mixer, layer.cross) if m is not None]
        for mixer in mixers:
            if mixer.use() != "attention":
                return f"mixer {mixer.use()!r} has no form over several processes; `attention` has"
            if mixer.normaliser is not None or mixer.reads or (mixer.position and mixer.position.factor() is not None):
                return "attention with weights of its own, or a position that reads tokens, has no such form"
            if mixer.dropout and model.training:
                return "weights of attention are not dropped at random there"
        if layer.channel is not None and layer.channel.couples is not None:
            return f"channel {layer.channel.use()!r} looks at a whole {layer.channel.couples}"
    odd = [n for n, m in model.named_modules() if getattr(type(m), "family", "") == "norms" and not m.pointwise]
    return f"{odd[0]} normalises over tokens" if odd else None
