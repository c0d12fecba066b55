"""What our models answer under the names of `transformers`, and the encoder that its `generate` calls by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils import ModelOutput

from ..core.layout import Layout
from ..model.model import Memory, Model
from .cache import StreamCache
from .inputs import NAMES, batch


@dataclass
class Answer(ModelOutput):
    """What a model says, under the usual names; what does not apply is None."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # what the head answers
    past_key_values: StreamCache | None = None
    pooler_output: Tensor | None = None  # what a `pooled` head answers
    last_hidden_state: Tensor | None = None  # (B, T, D)


@dataclass
class Encoded(ModelOutput):
    """What an encoder says, and where it sits."""

    last_hidden_state: Tensor | None = None  # (B, S, D)
    seg: Tensor | None = None  # (B, S)
    pos: Tensor | None = None  # (B, S, P)

    def memory(self) -> Memory:
        assert self.last_hidden_state is not None and self.seg is not None and self.pos is not None
        return Memory(self.last_hidden_state, Layout(self.seg, self.pos, full=bool((self.seg >= 0).all())))


class Encoder(nn.Module):
    """The encoder of a model, alone: what `generate` calls once for each text."""

    def __init__(self, core: Model) -> None:
        super().__init__()
        self.core = core

    def forward(
        self, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None, **given: Any
    ) -> Encoded:
        raw = {name: given.get(name) for name in NAMES.values()}
        run = self.core.run(batch(self.core, raw, attention_mask, token_type_ids))
        shape = run.out.shape[:2]
        return Encoded(run.out, run.at.seg.expand(shape), run.at.pos.expand(*shape, -1))
