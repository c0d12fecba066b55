"""What a computation costs, counted on the operations that really run, not by a formula per part.

Small calls run for real; large ones on tensors that have a shape but no memory (`shapes.py`), so that a
length of 64k fits any machine. The counts are the same. Code that branches on learned values always runs
for real.

flops   matmul, convolution and attention by their shapes, n^2 for a triangular system of n, 5 n log2 n for a Fourier
        transform of n complex numbers, else one per element; moving data is free. A causal mask does not halve the count.
bytes   what every operation reads and writes; views are free
saved   bytes kept for the backward pass, parameters left out
peak    most bytes alive at once in the forward pass without gradients, parameters left out
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..core import state as states
from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from .operations import flops, home, tensors, traffic
from .shapes import BRANCHES, Shapes

if TYPE_CHECKING:
    from ..model.model import Model

T = TypeVar("T")
SHORT = 4096  # the largest dimension of an input that is tried for real at first
ROOM = 1 << 28  # bytes alive at once,
WORK = 2e10  # and operations, after which a call without memory is better,
WORTH = 5e7  # unless it would have to take more calls: one takes as long as this many operations for real
CALLS = 20_000  # calls without memory after which a real run is better
PIECE = 512  # tokens read at a time where states are measured on real tensors


@dataclass(frozen=True)
class Cost:
    """Counts of one call; bytes are bytes, parameters and flops are numbers of them."""

    parameters: int
    flops: int
    bytes: int
    saved: int
    peak: int
    state: int = 0  # bytes of streaming state after the whole input, 0 where nothing streams

    def dump(self) -> dict[str, int]:
        return asdict(self)


def trace(fn: Callable[..., Any], *inputs: Tensor) -> Cost:
    """The cost of `fn(*inputs)`. Parameters are counted where `fn` is a module, each tied one once."""
    cost = _cheaply(lambda shapes, limit: _trace(fn, inputs, shapes, limit), inputs)
    return replace(cost, parameters=parameters(fn)) if isinstance(fn, nn.Module) else cost


def of_step(work: Callable[[], Any], *inputs: Tensor) -> Cost:
    """The cost of work that runs its own backward pass, such as a training step: it always runs for real.

    `peak` is over the whole of it and counts what it makes, not the inputs; `saved` is what is still alive at its end.
    """
    with _Counter(inputs, None, False) as seen:
        start = seen.live
        out = work()
        held = seen.live - start
    del out
    return Cost(0, round(seen.flops), seen.bytes, held, seen.peak - start)


def of_model(model: Model, length: int, batch: int = 1, channels: int | None = None) -> Cost:
    """The cost of one forward pass of a built model over `batch` full inputs of `length` tokens.

    An image has `length` patches on the squarest lattice. An encoder reads `length` tokens too. `channels` is
    needed by embeds of series that take any number of them.
    """
    inputs = [example(m, length, batch, channels) for m in (model, model.encoder) if m is not None]

    def call(x: Tensor, source: Tensor | None = None) -> Any:
        return model.run(x, source=source).out

    was = model.training
    model.eval()
    try:
        cost = trace(call, *inputs)
        held = 0 if model.why_no_stream() else _streamed(model, *inputs)
    finally:
        model.train(was)
    return replace(cost, parameters=parameters(model), state=held)


def example(model: Model, length: int, batch: int = 1, channels: int | None = None) -> Tensor:
    """Raw input of the kind the model's embed reads, of `length` tokens or steps or patches."""
    reads: str = model.embed.reads
    c: Any = model.spec.embed
    if reads == "tokens":
        rng = torch.Generator().manual_seed(0)
        return torch.randint(getattr(c, "vocab", 256), (batch, length), generator=rng)
    if reads == "values":
        fixed = 2 if hasattr(c, "columns") else getattr(c, "channels", None)
        if (channels or fixed or 1) != (fixed or channels or 1):
            raise InputError(f"this model reads {fixed} channels, not {channels}")
        return torch.zeros(batch, length, fixed or channels or 1)
    if reads == "video":
        return model.embed.dummy(batch, length)
    rows = max(d for d in range(1, math.isqrt(length) + 1) if length % d == 0)
    stride, reach = c.stride or c.size, c.size - 2 * c.padding
    return torch.zeros(batch, c.channels, (rows - 1) * stride + reach, (length // rows - 1) * stride + reach)


def state_bytes(mixer: Mixer, width: int, length: int, batch: int = 1) -> int:
    """Bytes a streaming mixer holds after `length` tokens of a batch."""
    like = next(mixer.parameters(), torch.zeros(())).new_zeros(batch, length, width)

    def read(x: Tensor, at: Layout, state: Any) -> Any:
        return mixer.chunk(x, at, state)[1]

    return _held(read, lambda: mixer.start(batch, like), like)


def parameters(module: nn.Module) -> int:
    """How many numbers are learned, each tied one once."""
    return sum(p.numel() for p in module.parameters())


def growth(costs: Mapping[int, float]) -> float:
    """The exponent e of cost ~ a + b n^e: the slope of the increments, so that a fixed cost does not matter."""
    sizes = sorted(costs)
    if len(sizes) < 3:
        raise InputError(f"growth needs costs at three lengths or more, got {len(sizes)}")
    ratios = [b / a for a, b in pairwise(sizes)]
    if max(ratios) - min(ratios) > 1e-9 * max(ratios):
        raise InputError(f"growth needs lengths with a common ratio (n, 2n, 4n), got {sizes}")
    steps = [costs[b] - costs[a] for a, b in pairwise(sizes)]
    if min(steps) <= 0:
        return 0.0
    return math.log(steps[-1] / steps[0]) / (math.log(ratios[0]) * (len(steps) - 1))


class _Dear(Exception):
    """This way of counting takes too long or too much memory; the other is better."""


def _cheaply(count: Callable[[Shapes | None, bool], T], inputs: Sequence[Tensor]) -> T:
    """The count, made on real tensors or without memory, whichever is quicker; `True` asks to give up when dear."""
    try:
        if max((n for x in inputs for n in x.shape), default=0) <= SHORT:
            return count(None, True)
    except _Dear:
        pass
    try:
        return count(Shapes(), True)
    except (_Dear, *BRANCHES):
        return count(None, False)


def _trace(fn: Callable[..., Any], inputs: Sequence[Tensor], shapes: Shapes | None, limit: bool) -> Cost:
    with shapes or nullcontext():
        args = [shapes.of(x) if shapes else x for x in inputs]
        with torch.no_grad(), _Counter(args, shapes, limit) as forward:
            fn(*args)
        args = [x.detach().requires_grad_(x.is_floating_point()) for x in args]
        with torch.enable_grad(), _Counter(args, shapes, limit) as train:
            with torch.autograd.graph.saved_tensors_hooks(train.keep, lambda kept: kept):
                out = fn(*args)
        saved = train.saved()
        del out
    return Cost(0, round(forward.flops), forward.bytes, saved, forward.peak)


def _streamed(model: Model, x: Tensor, source: Tensor | None = None) -> int:
    """Bytes of state after the model has read x in pieces."""

    def read(piece: Tensor, at: Layout, state: Any) -> Any:
        return model.chunk(piece, state)[1]

    return _held(read, lambda: model.start(len(x), source), x, lambda state: state[0].layers)


def _held(
    read: Callable[[Tensor, Layout, Any], Any],
    start: Callable[[], Any],
    x: Tensor,
    kept: Callable[[Any], Any] = lambda state: state,
) -> int:
    def count(shapes: Shapes | None, limit: bool) -> int:
        pieces = [x] if shapes else list(x.split(PIECE, 1))  # without memory all can be read at once
        with torch.no_grad(), shapes or nullcontext(), _Counter([], shapes, limit):
            state, seen = start(), 0
            for piece in pieces:
                piece = shapes.of(piece) if shapes else piece
                state = read(piece, Layout.dense(piece.shape[0], piece.shape[1], seen), state)
                seen += piece.shape[1]
            return states.size(kept(state))

    return _cheaply(count, [x])


class _Counter(TorchDispatchMode):
    """Sees every operation below autograd, where shapes and copies are what really runs."""

    def __init__(self, inputs: Iterable[Tensor], shapes: Shapes | None, limit: bool) -> None:
        super().__init__()
        self._shapes, self._limit, self._calls = shapes, limit, 0
        self.flops, self.bytes, self.live, self.peak = 0.0, 0, 0, 0
        self._known: dict[int, int] = {}  # storages made here or given as input, by identity
        self._kept: dict[int, Tensor] = {}
        for x in inputs:
            self._note(x)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        reads = [self._shapes.of(t) if self._shapes else t for t in tensors((args, kwargs))]
        out = func(*args, **(kwargs or {}))
        if func.namespace == "prim":  # questions about a tensor, such as its device
            return out
        writes = tensors(out)
        homes = {home(t) for t in reads}
        if func._schema.is_mutable or any(home(t) not in homes for t in writes):  # else a view
            self.bytes += traffic(func, args, reads, writes)
            self.flops += flops(func, args, kwargs or {}, reads, writes, out)
        for t in writes:
            if home(t) not in homes and func.overloadpacket.__name__ != "from_file":  # a view of a parameter is still
                self._note(t)  # the parameter, and a file is no memory
        self._calls += 1
        if self._limit and self._dear():
            raise _Dear
        return out

    def _dear(self) -> bool:
        if self._shapes is not None:
            return self._calls > CALLS
        return self.live > ROOM or self.flops > WORK + WORTH * self._calls

    def keep(self, t: Tensor) -> Tensor:
        """Autograd saves this tensor."""
        if home(t) in self._known:
            self._kept[home(t)] = t
        return t

    def saved(self) -> int:
        return sum(t.untyped_storage().nbytes() for t in self._kept.values())

    def _note(self, t: Tensor) -> None:
        storage, place = t.untyped_storage(), home(t)
        if place in self._known:
            return
        size = self._known[place] = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, place)

    def _free(self, place: int) -> None:
        self.live -= self._known.pop(place, 0)
