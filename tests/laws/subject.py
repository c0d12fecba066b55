"""Every part of every family, seen alike: sequences in, one result per sequence out.

A law compares ways of laying the same sequences out (alone, packed, padded left or right, both at once);
a subject knows how to feed its family with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from panformer.core.layout import Layout
from panformer.core.part import Config, Part, parse
from panformer.core.shared import Shared

WIDTH = 16
MEMORY = 6  # tokens of encoder memory that belong to the first sequence; each later one has one more


class Put(NamedTuple):
    """Where sequence `i` of a batch went."""

    row: int
    start: int


def placement(form: str, lengths: Sequence[int]) -> tuple[list[Put], int, int]:
    """(place of every sequence, rows, tokens per row) of a batch form; what no sequence covers is padding."""
    n, longest = len(lengths), max(lengths)
    if form in ("rows", "right"):
        return [Put(i, 0) for i in range(n)], n, longest
    if form == "left":
        return [Put(i, longest - t) for i, t in enumerate(lengths)], n, longest
    offsets = [sum(lengths[:i]) for i in range(n)]
    if form == "packed":
        return [Put(0, o) for o in offsets], 1, sum(lengths)
    if form == "mixed":  # two rows of several sequences, with padding before, between and after them
        half = (n + 1) // 2
        puts = [Put(0, o + i) for i, o in enumerate(offsets[:half])]
        puts += [Put(1, 2 + o - offsets[half]) for o in offsets[half:]]
        ends = [p.start + t for p, t in zip(puts, lengths)]
        return puts, 2, max(ends) + 1
    raise ValueError(form)


def layout(form: str, lengths: Sequence[int]) -> Layout:
    """The layout of a batch form, by the library's own constructors where it has one."""
    puts, rows, size = placement(form, lengths)
    if form == "rows":
        assert len(set(lengths)) == 1
        return Layout.dense(rows, size)
    if form == "packed":
        return Layout.packed(lengths)
    if form in ("right", "left"):
        return Layout.padded(lengths, side=form)
    seg, pos = torch.full((rows, size), -1), torch.zeros(rows, size, 1, dtype=torch.int64)
    for (row, start), t in zip(puts, lengths):
        seg[row, start : start + t] = seg[row].max() + 1
        pos[row, start : start + t, 0] = torch.arange(t)
    return Layout(seg, pos)


def gather(form: str, xs: Sequence[Tensor], junk: float | int) -> Tensor:
    """Sequences (T_i, ...) -> (B, T, ...), with junk in the padding."""
    puts, rows, size = placement(form, [len(x) for x in xs])
    table: list[list[tuple[int, Tensor]]] = [[] for _ in range(rows)]
    for (row, start), x in zip(puts, xs):
        table[row].append((start, x))
    return torch.stack([_row(size, items, junk) for items in table])


def _row(size: int, items: list[tuple[int, Tensor]], junk: float | int) -> Tensor:
    pieces, end, like = [], 0, items[0][1]
    for start, x in items:
        pieces += [like.new_full((start - end, *like.shape[1:]), junk), x]
        end = start + len(x)
    return torch.cat([*pieces, like.new_full((size - end, *like.shape[1:]), junk)])


def scatter(form: str, y: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """(B, T, ...) -> one result (T_i, ...) per sequence."""
    puts, rows, size = placement(form, lengths)
    assert y.shape[:2] == (rows, size), f"result of shape {tuple(y.shape)} for a batch of {rows} x {size} tokens"
    return [y[row, start : start + t] for (row, start), t in zip(puts, lengths)]


class Subject:
    """One part with one set of options. `part` may be a faulty subclass of a real part."""

    forms: tuple[str, ...] = ("packed", "right", "left", "mixed")
    longest = 60  # tokens that any part can be given
    length = 23  # tokens of a full sequence: more than four windows of the example options
    sizes: tuple[int, ...] = (256, 512, 1024)  # lengths at which cost is compared

    def __init__(self, part: type[Part], options: dict[str, Any]) -> None:
        self.part, self.options = part, options
        self.lattice = bool(getattr(part, "lattice", False))
        if self.lattice:  # every row is one full lattice: nothing to pack or pad
            self.forms, self.length, self.sizes = (), 20, (256, 1024, 4096)
        real = part.__module__.startswith("panformer.")
        self.name = f"{part.family}/{part.use() if real else part.__name__} {json.dumps(options)}"

    def config(self, **changed: Any) -> Config:
        return parse(self.part.Config, {**self.options, **changed}, self.name)

    def dims(self) -> tuple[Any, ...]:
        return (WIDTH,)

    def new(self, seed: int = 0, c: Config | None = None) -> nn.Module:
        """Built from its seed alone, as a user gets it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.part(c or self.config(), *self.dims()).eval()

    def build(self, seed: int = 0) -> Any:
        """In float64, moved off its initial values: a gate that starts at zero would hide faults."""
        module = self.new(seed).double()
        rng = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.1 * torch.randn(p.shape, generator=rng, dtype=p.dtype))
        return module

    def sequences(self, lengths: Sequence[int], seed: int = 2) -> list[Tensor]:
        """One input per length; a subject that takes only one length gives that instead."""
        rng = torch.Generator().manual_seed(seed)
        return [torch.randn(t, WIDTH, generator=rng, dtype=torch.float64) for t in lengths]

    def call(self, module: Any, x: Tensor, at: Layout, shared: Shared) -> Any:
        return module(x, at, shared)

    def chunk(self, module: Any, x: Tensor, at: Layout, state: Any, shared: Shared) -> tuple[Tensor, Any]:
        return module.chunk(x, at, state, shared)

    def step(self, module: Any, x: Tensor, at: Layout, state: Any, shared: Shared) -> tuple[Tensor, Any]:
        return module.step(x, at, state, shared)

    def piece(self, module: Any, x: Tensor, at: Layout, a: int, b: int) -> Tensor:
        """The part on tokens a to b of x alone."""
        return self.call(module, x[:, a:b], at.span(a, b), Shared())

    def junk(self, like: Tensor) -> float | int:
        """What stands at padding: nothing a part could compute with."""
        return torch.nan if like.is_floating_point() else 2**40

    def layout(self, form: str, lengths: Sequence[int]) -> Layout | None:
        if not self.lattice:
            return layout(form, lengths)
        side = max(d for d in range(1, math.isqrt(lengths[0]) + 1) if lengths[0] % d == 0)
        return Layout.lattice(len(lengths), (side, lengths[0] // side))

    def reach(self, module: Any) -> str | None:
        """Which tokens an output may depend on, as declared: alone, past or all; None where nothing is said."""
        return None if self.couples(module) else "alone"

    def couples(self, module: Any) -> str | None:
        """Which tokens may disturb each other other than by values, as declared: those of a batch or a sequence."""
        return getattr(module, "couples", None)

    def piecewise(self, module: Any) -> bool:
        """Whether a piece of the input can be computed without the rest, as declared."""
        return self.reach(module) == "alone"

    def costed(self, module: Any, length: int) -> tuple[Callable[..., Tensor], Tensor]:
        """A call on one full sequence, to be counted, and its input."""
        lengths = [length]

        def call(x: Tensor) -> Any:
            shared = self.shared("rows", lengths, x.dtype, length)
            return self.call(module, x, self.layout("rows", lengths), shared)

        x = torch.stack(self.sequences(lengths))
        return call, x.float() if x.is_floating_point() else x

    def shared(
        self, form: str, lengths: Sequence[int], dtype: torch.dtype = torch.float64, memory_tokens: int = MEMORY
    ) -> Shared:
        """What the part needs from elsewhere, laid out as the sequences are."""
        if "memory" not in getattr(self.part, "needs", ()):
            return Shared()
        memories = [self.memory(i, form, memory_tokens).to(dtype) for i in range(len(lengths))]
        at = layout(form, [len(m) for m in memories])
        return Shared({"memory": (gather(form, memories, torch.nan), at)})

    def memory(self, i: int, form: str, tokens: int = MEMORY) -> Tensor:
        """What sequence i reads from an encoder: as many tokens for each in full batches, else ever more."""
        rng = torch.Generator().manual_seed(3 + i)
        drawn = torch.randn(tokens + (0 if form == "rows" else i), WIDTH, generator=rng)
        return drawn.bfloat16().double()  # exact in every type

    def run(
        self, module: Any, xs: Sequence[Tensor], form: str, losses: dict[str, Tensor] | None = None
    ) -> list[Tensor]:
        """The result of every sequence when they are laid out together in this form."""
        lengths = [len(x) for x in xs]
        shared = self.shared(form, lengths, xs[0].dtype)
        y = self.call(module, gather(form, xs, self.junk(xs[0])), self.layout(form, lengths), shared)
        if losses is not None:
            losses.update(shared.losses)
        return self.results(y, form, lengths)

    def results(self, y: Any, form: str, lengths: Sequence[int]) -> list[Tensor]:
        """What a call answered, one result per sequence."""
        return scatter(form, y, lengths)

    def alone(self, module: Any, xs: Sequence[Tensor], form: str = "packed") -> list[Tensor]:
        """The result of every sequence when it is the only one, with the memory it has in a batch of that form."""
        out = []
        for i, x in enumerate(xs):
            shared = Shared()
            if "memory" in getattr(self.part, "needs", ()):
                memory = self.memory(i, form).to(x.dtype)
                shared = Shared({"memory": (memory[None], Layout.dense(1, len(memory)))})
            y = self.call(module, x[None], self.layout("rows", [len(x)]), shared)
            out += self.results(y, "rows", [len(x)])
        return out
