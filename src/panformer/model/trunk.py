"""Layers in a row: mixers, channels and residuals joined as the schedule says."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Branch, Channel, Depth, Mixer, Norm, Residual
from ..core.layout import Layout
from ..core.schedule import Placed
from ..core.shared import Shared
from ..core.state import State


class Layer(nn.Module):
    """One mixer, cross mixer and channel part, joined by a residual part that owns the norms."""

    def __init__(self, placed: Placed) -> None:
        super().__init__()
        layer, width = placed.layer, placed.width
        assert layer.residual is not None and layer.norm is not None, "build from a resolved spec"
        self.mixer: Mixer | None = layer.mixer.build(width) if layer.mixer else None
        self.cross: Mixer | None = layer.cross.build(width) if layer.cross else None
        self.channel: Channel | None = layer.channel.build(width) if layer.channel else None
        self.branches = tuple(n for n in ("mixer", "cross", "channel") if getattr(self, n) is not None)
        self.residual: Residual = layer.residual.part(layer.residual, width, layer.norm, len(self.branches))
        for name in placed.reads:
            if self.mixer is None:
                raise InputError(f"reads: a layer without a mixer cannot take {name!r}")
            self.mixer.borrow(name)

    def forward(self, x: Tensor, at: Layout, shared: Shared) -> Tensor:
        def bind(part: nn.Module) -> Branch:
            return lambda h: part(h, at, shared)

        return self.residual(x, at, [bind(getattr(self, name)) for name in self.branches])

    def running(self) -> dict[Norm, str]:
        """The norms that keep a state in a stream, and its name there."""
        return {m: name for name, m in self.residual.named_modules() if isinstance(m, Norm) and m.streams}

    def start(self, batch: int, like: Tensor) -> dict[str, State]:
        mixers = {n: getattr(self, n).start(batch, like) for n in self.branches if n != "channel"}
        return mixers | {name: norm.start(batch, like) for norm, name in self.running().items()}

    def chunk(self, x: Tensor, at: Layout, state: dict[str, State], shared: Shared) -> tuple[Tensor, dict[str, State]]:
        after: dict[str, State] = {}
        names = self.running()

        def normal(norm: Norm, h: Tensor, at: Layout) -> Tensor:
            name = names.get(norm)
            if name is None:
                return norm(h, at)
            out, after[name] = norm.chunk(h, at, state[name])
            return out

        def bind(name: str) -> Branch:
            part = getattr(self, name)
            if name == "channel":
                return lambda h: part(h, at, shared)

            def mix(h: Tensor) -> Tensor:
                out, after[name] = part.chunk(h, at, state[name], shared)
                return out

            return mix

        out = self.residual(x, at, [bind(name) for name in self.branches], normal)
        return out, {name: after[name] for name in state}  # in the order that the state came in


class Trunk(nn.Module):
    """All layers and the final norm. Layers that are tied are one module, listed twice."""

    def __init__(self, layers: tuple[Placed, ...], final: Any | None, depth: Any | None = None) -> None:
        super().__init__()
        self.placed = layers
        self.layers = nn.ModuleList()
        self.reducers = nn.ModuleDict()
        for i, placed in enumerate(layers):
            if placed.reduce is not None:
                self.reducers[str(i)] = placed.reduce.build(placed.before, placed.width)
            self.layers.append(Layer(placed) if placed.tie is None else self.layers[placed.tie])
        self.lenders = {i for placed in layers for i in placed.reads.values()}  # what others give is let go at once
        self.depth: Depth | None = None if depth is None else depth.part(depth, layers[0].width, len(layers))
        self.final: Norm | None = final.build(layers[-1].width) if final is not None else None
        self._check()

    def each(self) -> list[Layer]:
        """The layers in order, tied ones as often as they run."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def forward(self, x: Tensor, at: Layout, shared: Shared) -> tuple[Tensor, Layout]:
        """(B, T, D), Layout -> the last hidden vectors and where they sit."""
        given: dict[int, dict[str, Any]] = {}
        history = [x]
        for i, (layer, placed) in enumerate(zip(self.each(), self.placed, strict=True)):
            if placed.reduce is not None:
                x, at = self.reducers[str(i)](x, at)
            own = self._channel(shared, placed, given)
            x = self._next(layer(x, at, own), history)
            if i in self.lenders:
                given[i] = own.given
        return (x if self.final is None else self.final(x, at)), at

    def start(self, batch: int, like: Tensor) -> list[State]:
        why = self.why_no_stream()
        if why:
            raise InputError(why)
        end = [self.final.start(batch, like)] if self.final is not None and self.final.streams else []
        return [layer.start(batch, like) for layer in self.each()] + end

    def chunk(self, x: Tensor, at: Layout, state: list[State], shared: Shared) -> tuple[Tensor, list[State]]:
        given: dict[int, dict[str, Any]] = {}
        after: list[State] = []
        history = [x]
        for i, (layer, placed, past) in enumerate(
            zip(self.each(), self.placed, state[: len(self.placed)], strict=True)
        ):
            own = self._channel(shared, placed, given)
            x, new = layer.chunk(x, at, past, own)
            x = self._next(x, history)
            after.append(new)
            if i in self.lenders:
                given[i] = own.given
        if self.final is None or not self.final.streams:
            return (x if self.final is None else self.final(x, at)), after
        x, end = self.final.chunk(x, at, state[-1])
        return x, [*after, end]

    def why_no_stream(self) -> str | None:
        """The reason this trunk has no streaming form, or None."""
        if len(self.reducers):
            return "a reducer changes the tokens; this model cannot stream"
        for i, layer in enumerate(self.each()):
            if layer.mixer is not None and not (layer.mixer.causal and layer.mixer.streams):
                return f"layer {i}: mixer {layer.mixer.use()} has no streaming form here"
            whole = [m.use() for m in layer.residual.modules() if isinstance(m, Norm) and not _pieces(m)]
            if whole:
                return f"layer {i}: norm {whole[0]} needs all tokens at once"
        if self.final is not None and not _pieces(self.final):
            return f"the final norm {self.final.use()} needs all tokens at once"
        return None

    def _next(self, x: Tensor, history: list[Tensor]) -> Tensor:
        """What the next layer reads, after this answer of the last one."""
        if self.depth is None:
            return x
        history.append(x)
        out: Tensor = self.depth(history)
        return out

    def _channel(self, shared: Shared, placed: Placed, given: dict[int, dict[str, Any]]) -> Shared:
        lent = {**shared.lent, **{name: given[i][name] for name, i in placed.reads.items()}}
        return shared.layer(lent)

    def _check(self) -> None:
        """Every name a layer reads is given by the layer it names, and taken by its own mixer; depth needs one shape."""
        if self.depth is not None and (len(self.reducers) or len({p.width for p in self.placed}) > 1):
            raise InputError("depth: all layers must have one width and the same tokens")
        for i, (layer, placed) in enumerate(zip(self.each(), self.placed, strict=True)):
            for name, source in placed.reads.items():
                lender = self.each()[source].mixer
                assert layer.mixer is not None
                if name not in layer.mixer.takes:
                    raise InputError(f"layer {i}: mixer {layer.mixer.use()} takes {layer.mixer.takes}, not {name!r}")
                if lender is None or name not in lender.gives:
                    raise InputError(f"layer {i}: layer {source} gives no {name!r}")
                if self.placed[source].width != placed.width:
                    raise InputError(f"layer {i}: layer {source} has another width")


def _pieces(norm: Norm) -> bool:
    """Whether a norm can take its tokens piece by piece."""
    return norm.pointwise or norm.streams
