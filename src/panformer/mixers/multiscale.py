"""A whole hierarchical decoder: one model reads patches, and tells another that reads within each patch."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.errors import InputError
from ..core.families import Mixer, Norm, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.shared import Shared
from ..core.state import State
from ..ops.cells import Cells, cells
from ._inner import Inner

ATTENTION = {"use": "attention", "causal": True, "position": "rope"}


class Stream(NamedTuple):
    """What later tokens need of B sequences."""

    open: Tensor  # (B, S, D) the tokens of the patch that is not full yet
    seen: Tensor  # (B, S) bool: which of its places hold one
    told: Tensor  # (B, E) what the patches before it tell it
    some: Tensor  # (B, 1) bool: whether there were any
    outer: list[State]  # of the layers that read patches


class Multiscale(Mixer):
    """y = inner(x_k + up(g_k)) in each patch k alone, g_{k+1} = outer(down(x_1), ..., down(x_k))_k, g_1 learned.

    A patch has `size` tokens and `width` numbers for the outer layers; down and up are linear maps of its tokens side by
    side. Patches are cut by the tokens' positions. Both models are causal, so that a token sees its own patch up to
    itself and all full ones before. Where the inner mixer is `multiscale` too, there are three stages, and so on. In a
    step the outer layers go on from their states, once for every full patch, and the open patch is run again, so that
    any causal mixer will do within. `piece`: in training the inner activations are made again in the backward pass,
    so many patches of the batch at a time. With residual `bare` around it the model is this part alone. Yu et al. 2023,
    MegaByte, generalised by Egli et al. 2025.
    """

    paper = "Egli et al. 2025, Multiscale byte language models"
    causal = True
    examples = (
        {"size": 4, "outer_layers": 1, "inner_layers": 1, "width": 12, "outer": {"use": "mamba", "state": 3}},
        {
            "size": 3,
            "outer_layers": 1,
            "outer": {"use": "min_gru"},
            "inner_layers": 1,
            "channel": "glu",
            "norm": "rms",
            "residual": "post",
            "piece": 2,
        },
        {
            "size": 6,
            "outer_layers": 1,
            "outer": {"use": "min_gru"},
            "inner_layers": 1,
            "inner": {"use": "multiscale", "size": 2, "outer_layers": 1, "inner_layers": 1},
        },
    )

    class Config(Base):
        size: int = Field(8, gt=0, description="tokens of a patch")
        width: int | None = Field(None, gt=0, description="of the outer layers; default: the model's")
        outer: Annotated[Base, Slot("mixers")] = Field(ATTENTION, validate_default=True)
        outer_layers: int = Field(2, gt=0)
        inner: Annotated[Base, Slot("mixers")] = Field(ATTENTION, validate_default=True)
        inner_layers: int = Field(1, gt=0)
        channel: Annotated[Base | None, Slot("channels")] = Field("mlp", validate_default=True)
        norm: Annotated[Base, Slot("norms")] = Field("layer", validate_default=True)
        residual: Annotated[Base, Slot("residuals")] = Field("pre", validate_default=True)
        piece: int | None = Field(None, gt=0, description="patches whose inner activations are made again at a time")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if not c.norm.part.pointwise:
            raise InputError(f"multiscale: norm {c.norm.part.use()!r} looks at all tokens at once")
        if not c.outer.part.streams:
            raise InputError(f"multiscale: mixer {c.outer.part.use()!r} does not stream, as the outer one must")
        wide = c.width or width
        self.size, self.piece = c.size, c.piece
        self.first = nn.Parameter(torch.randn(wide))
        self.down, self.up = linear(c.size * width, wide), linear(wide, c.size * width)
        rest = c.channel, c.norm, c.residual
        self.outer = nn.ModuleList(Inner(self.use(), wide, c.outer, *rest) for _ in range(c.outer_layers))
        self.inner = nn.ModuleList(Inner(self.use(), width, c.inner, *rest) for _ in range(c.inner_layers))
        final = c.residual.part.final
        self.outer_norm: Norm | None = c.norm.build(wide) if final else None
        self.inner_norm: Norm | None = c.norm.build(width) if final else None
        self.growth = self._outer()[0].mixer.growth

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        held = cells(at, self.size, False)
        none = self._open(len(held.live), x)
        return held.back(self._read(x, held, Stream(*none, []), shared, whole=True)[0], at)

    def start(self, batch: int, like: Tensor) -> Stream:
        patch = like.new_zeros(batch, 1, len(self.first))
        return Stream(*self._open(batch, like), [layer.mixer.start(batch, patch) for layer in self._outer()])

    def chunk(self, x, at, state, shared=None):
        held = cells(at, self.size, True)
        y, state = self._read(x, held, Stream(*state), shared, whole=False)
        return held.back(y, at), state

    def _read(self, x: Tensor, held: Cells, state: Stream, shared: Shared | None, whole: bool) -> tuple[Tensor, Stream]:
        """(answers in cells (N, R S, D), the state after them)."""
        shared = (shared or Shared()).layer({})
        new, row = (t.unflatten(1, (-1, self.size)) for t in (held.lay(x), held.live))
        first = torch.where(state.seen[..., None], state.open, new[:, 0])  # nothing is open but before the first
        now = torch.cat([first[:, None], new[:, 1:]], 1)
        real = torch.cat([(row[:, 0] | state.seen)[:, None], row[:, 1:]], 1)
        full = row[..., -1]
        g, outer = self._patches(now, full, held, state, shared, whole)
        told = torch.cat([torch.where(state.some, state.told, self.first)[:, None], g[:, :-1]], 1)
        h = now + self.up(told).unflatten(-1, (self.size, -1))
        y = self._within(h.flatten(0, 1), real.flatten(0, 1), held.filled, shared).view(*h.shape)
        if whole:
            return y.flatten(1, 2), state
        return y.flatten(1, 2), self._left(now, real, row, full, g, state)._replace(outer=outer)

    def _patches(
        self, x: Tensor, full: Tensor, held: Cells, state: Stream, shared: Shared, whole: bool
    ) -> tuple[Tensor, list[State]]:
        """(what each full patch (N, R, S, D) and those before it tell the next (N, R, E), the states of the layers)."""
        if not held.filled and not bool(full.any()):
            return x.new_zeros(*full.shape, len(self.first)), state.outer
        place = held.chunk[:, None] + torch.arange(x.shape[1], device=x.device)
        at = Layout(torch.where(full, 0, -1), torch.where(full, place, 0)[..., None], full=held.filled)
        h, after = at.clean(self.down(x.flatten(2))), []
        for i, layer in enumerate(self._outer()):
            if whole:
                h = layer(h, at, shared)
            else:
                h, new = layer.chunk(h, at, state.outer[i], shared)
                after.append(new)
        return at.clean(h if self.outer_norm is None else self.outer_norm(h, at)), after

    def _within(self, x: Tensor, real: Tensor, filled: bool, shared: Shared) -> Tensor:
        """The inner layers on patches (M, S, D), each a sequence of its own; 0 where no token is real (M, S)."""

        def run(x: Tensor, real: Tensor) -> Tensor:
            if not filled and not bool(real.any()):
                return torch.zeros_like(x)
            seg = torch.where(real, 0, -1)
            at = Layout(seg, torch.arange(self.size, device=x.device).expand_as(seg)[..., None], full=filled)
            for layer in self.inner:
                x = layer(x, at, shared)
            return at.clean(x if self.inner_norm is None else self.inner_norm(x, at))

        if self.piece is None or not (self.training and torch.is_grad_enabled()):
            return run(x, real)
        pairs = zip(x.split(self.piece), real.split(self.piece), strict=True)
        return torch.cat([checkpoint(run, *pair, use_reentrant=False) for pair in pairs])

    def _left(self, x: Tensor, real: Tensor, row: Tensor, full: Tensor, g: Tensor, state: Stream) -> Stream:
        """The state of rows to which tokens came: the open patch, and what the last full one tells it."""
        ended, came = full.sum(1), row.flatten(1).any(1)  # full patches come first
        which = torch.arange(len(x), device=x.device)
        here = ended.clamp(max=x.shape[1] - 1)
        seen = torch.where(came[:, None], real[which, here] & (ended < x.shape[1])[:, None], state.seen)
        held = torch.where(came[:, None, None], x[which, here], state.open)
        told = torch.where((ended > 0)[:, None], g[which, (ended - 1).clamp(min=0)], state.told)
        return state._replace(
            open=torch.where(seen[..., None], held, 0), seen=seen, told=told, some=state.some | (ended > 0)[:, None]
        )

    def _open(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        seen = torch.zeros(batch, self.size, dtype=torch.bool, device=like.device)
        width = self.down.in_features // self.size
        return like.new_zeros(batch, self.size, width), seen, like.new_zeros(batch, len(self.first)), seen[:, :1]

    def _outer(self) -> list[Inner]:
        return [layer for layer in self.outer if isinstance(layer, Inner)]
