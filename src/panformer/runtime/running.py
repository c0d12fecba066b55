"""A causal model that answers as its input comes: the state is carried on, nothing is read twice."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from ..model.model import Model

POOLS = ("mean", "first", "last", "max")


class Running:
    """`push` the next tokens, have the answers: one per token, or of a head that pools the one for all so far.

    Of what a pooling head reads only the sum, first, last or largest hidden vector is kept, so that memory is what the
    model's own state takes. Errors: InputError with the reason where a model cannot read in pieces.
    """

    def __init__(self, model: Model) -> None:
        why = why_not(model)
        if why is not None:
            raise InputError(f"this model cannot answer as its input comes: {why}")
        self.model = model.eval()
        self.stream = model.start(1)
        self.how: str | None = (
            getattr(model.head, "pool", None) if model.head is not None and model.head.pools else None
        )
        self.seen, self.held = 0, torch.zeros(())

    @torch.inference_mode()
    def push(self, x: Tensor) -> Tensor:
        """Tokens (n,) or values (n, C), n at least 1 -> answers (n, ...), or (...) of a head that pools."""
        if self.how is None:
            out, self.stream = self.model.chunk(x[None], self.stream)
            return out[0]
        h, at, self.stream = self.model.read(x[None], self.stream)
        self._pool(at.clean(h)[0])
        summary = self.held / self.seen if self.how == "mean" else self.held
        return self.model.answer(summary.to(h.dtype)[None, None], Layout.dense(1, 1, device=h.device))[0]

    def _pool(self, h: Tensor) -> None:
        """Take hidden vectors (n, D) into what is held; sums in fp32 or wider."""
        first = self.seen == 0
        self.seen += len(h)
        if self.how == "mean":
            total = h.sum(0, dtype=torch.promote_types(h.dtype, torch.float32))
            self.held = total if first else self.held + total
        elif self.how == "max":
            self.held = h.amax(0) if first else torch.maximum(self.held, h.amax(0))
        elif self.how == "last" or first:
            self.held = h[-1] if self.how == "last" else h[0]

    def bytes(self) -> int:
        """What is carried on between two pieces."""
        leaves = torch.utils._pytree.tree_leaves((self.stream[0], self.held))
        return sum(t.numel() * t.element_size() for t in leaves if isinstance(t, Tensor))


def why_not(model: Model) -> str | None:
    """The reason a model cannot answer as its input comes, or None."""
    head = model.head
    if model.encoder is not None:
        return "its encoder reads the whole source"
    if model.embed.couples is not None:
        return f"embed {model.embed.use()} reads tokens together"
    if head is not None and head.pools and (getattr(head, "pool", None) not in POOLS or getattr(head, "before", False)):
        return f"head {head.use()} reads all tokens side by side"
    return model.why_no_stream()
