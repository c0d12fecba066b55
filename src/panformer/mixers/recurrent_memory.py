"""A whole Transformer that reads segment after segment, with a few memory tokens passed on from each to the next."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, Norm
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..ops.cells import Cells, cells
from ._inner import Inner


class Stream(NamedTuple):
    """What later tokens need of B sequences."""

    open: Tensor  # (B, S, D) the tokens of the segment that is not full yet
    seen: Tensor  # (B, S) bool: which of its places hold one
    memory: Tensor  # (B, M, D) what that segment reads
    some: Tensor  # (B, 1) bool: whether one has been written, else it is the first


class RecurrentMemory(Mixer):
    """[., y_i, m_{i+1}] = layers([m_i, x_i, m_i]): segment i of `size` tokens between the memory it reads and writes.

    m_0 is learned. All layers and the norm after them are one causal model, so that tokens look back in their segment and
    at the memory before it, and what is written comes from both; positions count from 0 within [m, x, m]. The memory that
    a segment writes comes out where it stood last. `back` cuts its gradient in training, between segment j - 1 and j
    where j is a multiple of back + 1. With residual `bare` around it, the model is the layers alone. A step runs its
    segment again, so that any causal mixer will do. Bulatov et al. 2022, without the cache of Transformer-XL beside it.
    """

    paper = "Bulatov et al. 2022, Recurrent memory transformer"
    causal = True
    examples = (
        {"size": 4, "memory": 2, "mixer": {"use": "attention", "heads": 2, "causal": True}},
        {"size": 5, "memory": 3, "layers": 1, "channel": "glu", "norm": "rms", "residual": "post"},
        {"size": 6, "memory": 0, "layers": 1, "mixer": {"use": "min_gru"}},
    )

    class Config(Base):
        size: int = Field(64, gt=0, description="tokens of a segment")
        memory: int = Field(8, ge=0, description="memory tokens; 0: segments know nothing of each other")
        layers: int = Field(2, gt=0)
        mixer: Annotated[Base, Slot("mixers")] = Field(
            {"use": "attention", "causal": True, "position": "rope"}, validate_default=True
        )
        channel: Annotated[Base | None, Slot("channels")] = Field("mlp", validate_default=True)
        norm: Annotated[Base, Slot("norms")] = Field("layer", validate_default=True)
        residual: Annotated[Base, Slot("residuals")] = Field("pre", validate_default=True)
        back: int | None = Field(None, ge=0, description="segments that gradients go back through; null: all")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if not c.norm.part.pointwise:
            raise InputError(f"recurrent_memory: norm {c.norm.part.use()!r} looks at all tokens at once")
        self.size, self.back = c.size, c.back
        self.first = nn.Parameter(0.1 * torch.randn(c.memory, width))
        self.layers = nn.ModuleList(
            Inner(self.use(), width, c.mixer, c.channel, c.norm, c.residual) for _ in range(c.layers)
        )
        self.final: Norm | None = c.norm.build(width) if c.residual.part.final else None

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        held = cells(at, self.size, False)
        y, _ = self._read(x, held, self.start(len(held.live), x), shared, last=False)
        return held.back(y, at)

    def start(self, batch: int, like: Tensor) -> Stream:
        seen = torch.zeros(batch, self.size, dtype=torch.bool, device=like.device)
        memory = like.new_zeros(batch, *self.first.shape)
        return Stream(like.new_zeros(batch, self.size, self.first.shape[1]), seen, memory, seen[:, :1])

    def chunk(self, x, at, state, shared=None):
        held = cells(at, self.size, True)
        y, state = self._read(x, held, Stream(*state), shared, last=True)
        return held.back(y, at), state

    def _read(self, x: Tensor, held: Cells, state: Stream, shared: Shared | None, last: bool) -> tuple[Tensor, Stream]:
        """(answers in cells (N, R S, D), the state after them); `last`: what the last segment writes is wanted."""
        rows = held.lay(x).unflatten(1, (-1, self.size)).unbind(1)
        lives, out = held.live.unflatten(1, (-1, self.size)).unbind(1), []
        shared = (shared or Shared()).layer({})
        for i, (new, row) in enumerate(zip(rows, lives, strict=True)):
            now = torch.where(state.seen[..., None], state.open, new)  # nothing is open but before the first
            came, full, real = row.any(1), row[:, -1], row | state.seen
            memory = torch.where(state.some[..., None], self._cut(state.memory, held.chunk + i), self.first)
            writes = last or i + 1 < len(rows)
            y, written = self._segment(now, real, full, memory, shared, writes, held.filled)
            out.append(y)
            seen = real & ~full[:, None]
            state = Stream(
                torch.where(came[:, None, None], now * seen[..., None], state.open),
                torch.where(came[:, None], seen, state.seen),
                torch.where(full[:, None, None], written, state.memory),
                state.some | full[:, None],
            )
        return torch.cat(out, 1), state

    def _segment(
        self, x: Tensor, real: Tensor, full: Tensor, memory: Tensor, shared: Shared, writes: bool, filled: bool
    ) -> tuple[Tensor, Tensor]:
        """(answers to the tokens, the memory that full segments write)."""
        m, size = memory.shape[1], self.size
        kept = torch.ones_like(real[:, :1]).expand(-1, m)
        parts, masks = [memory, x], [kept, real]
        if writes and m:
            parts, masks = [*parts, memory], [*masks, full[:, None].expand(-1, m)]
        mask = torch.cat(masks, 1)
        seg = torch.where(mask, 0, -1)
        at = Layout(seg, torch.arange(mask.shape[1], device=x.device).expand_as(seg)[..., None], full=filled)
        h = torch.cat(parts, 1)
        for layer in self.layers:
            h = layer(h, at, shared)
        h = at.clean(h if self.final is None else self.final(h, at))
        return h[:, m : m + size], h[:, m + size :] if writes and m else memory

    def _cut(self, memory: Tensor, number: Tensor) -> Tensor:
        """The memory that segments of these numbers (N,) read, without gradient where that ends."""
        if self.back is None or not self.training:
            return memory
        ends = number % (self.back + 1) == 0
        return torch.where(ends[:, None, None], memory.detach(), memory)
