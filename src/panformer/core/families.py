"""What each family of parts promises. B rows, T tokens, D width, H heads, P coordinates per token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from .errors import InputError
from .layout import Layout
from .maps import linear as linear
from .part import Config, Part
from .position import Position as Position
from .shared import Shared
from .sparse import Sparse
from .state import State

Branch = Callable[[Tensor], Tensor]  # one sublayer, layout and side channel already bound


class Mixer(Part):
    """Moves information between tokens: one function in three equal forms (whole, chunk, step).

    Built with (config, width). Padding may hold anything, NaN too, and must not matter.
    """

    family = "mixers"
    causal: bool = False  # whether this instance looks only back
    streams: ClassVar[bool] = True  # whether causal instances have start/chunk/step
    lattice: ClassVar[bool] = False  # whether it needs Layout.grid
    positions: ClassVar[frozenset[str]] = frozenset()  # kinds of Position it can use: rotate, bias, ...
    gives: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()  # names without which it cannot run (encoder memory)
    growth: str = "n"  # cost against length: "n", "n log n", "n^(4/3)", "n^1.5" or "n^2"

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). Values at padding are unspecified but finite."""
        raise NotImplementedError

    @classmethod
    def check(cls, c: Config) -> None:
        place: Config | None = getattr(c, "position", None)
        if place is not None:
            cls.suits(place)

    @classmethod
    def suits(cls, place: Config) -> None:
        """Refuses a position of a kind that this mixer has no hook for."""
        name, kind = place.part.use(), place.part.kind
        if kind not in (*cls.positions, "none"):
            kinds = ", ".join(sorted(cls.positions)) or "none"
            raise InputError(f"mixer {cls.use()!r} cannot use position {name!r} (kind {kind}); kinds it takes: {kinds}")

    def borrow(self, name: str) -> None:
        """From now on take this from an earlier layer instead of computing it."""
        raise NotImplementedError(f"{self.use()} borrows nothing")

    def start(self, batch: int, like: Tensor) -> State:
        """The empty state, on the device of `like`: in its dtype, but sums over the past of float32 at least."""
        raise NotImplementedError(f"{self.use()} has no streaming form")

    def chunk(self, x: Tensor, at: Layout, state: State, shared: Shared | None = None) -> tuple[Tensor, State]:
        """The next tokens, any number of them; each row holds one sequence, padding anywhere."""
        raise NotImplementedError(f"{self.use()} has no streaming form")

    def advance(self, x: Tensor, at: Layout, state: State, shared: Shared | None = None) -> State:
        """The state that `chunk` leaves, for a caller who needs no answers; some mixers have it for less."""
        return self.chunk(x, at, state, shared)[1]

    def step(self, x: Tensor, at: Layout, state: State, shared: Shared | None = None) -> tuple[Tensor, State]:
        """One token per row."""
        return self.chunk(x, at, state, shared)

    def mixing(self, x: Tensor, at: Layout) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """(the map that is linear in values (B, H, T, V), with all that x says about it held; the values of x)."""
        raise NotImplementedError(f"{self.use()} does not show its map of values")


class Channel(Part):
    """Works on each token alone: (B, T, D) -> (B, T, D). Built with (config, width)."""

    family = "channels"
    couples: Literal["batch", "sequence"] | None = None  # what else one token's answer depends on
    draws: ClassVar[bool] = False  # whether every pass of training makes random choices of its own

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        raise NotImplementedError


class Norm(Part):
    """Normalises hidden vectors: (B, T, D) -> (B, T, D). Built with (config, width).

    `pointwise` says that each token is normalised alone, as a stream needs it, unless the norm `streams`: then it looks
    back, with what it keeps of earlier tokens in a state, and whole and chunks are equal as a mixer's are. One that
    `counts` is pointwise in evaluation only.
    """

    family = "norms"
    pointwise: ClassVar[bool] = True
    counts: ClassVar[bool] = False  # whether training normalises over the batch, and keeps count for evaluation
    streams: ClassVar[bool] = False  # whether it has start and chunk; called without them it takes all tokens at once

    def forward(self, x: Tensor, at: Layout) -> Tensor:
        raise NotImplementedError

    def start(self, batch: int, like: Tensor) -> State:
        """The empty state, on the device of `like`."""
        raise NotImplementedError(f"{self.use()} has no state")

    def chunk(self, x: Tensor, at: Layout, state: State) -> tuple[Tensor, State]:
        """The next tokens, any number of them; each row holds one sequence, padding anywhere."""
        raise NotImplementedError(f"{self.use()} has no state")


Normal = Callable[[Any, Tensor, Layout], Tensor]  # calls a norm, with the state of its stream where there is one


def whole(norm: Any, x: Tensor, at: Layout) -> Tensor:
    """The norm of all tokens at once."""
    out: Tensor = norm(x, at)
    return out


class Residual(Part):
    """Joins the sublayers of one layer and owns their norms, which it calls through `normal`.

    Built with (config, width, norm, branches).
    """

    family = "residuals"
    final: ClassVar[bool] = True  # whether the trunk needs a norm after the last layer

    def __init__(self, config: Config, width: int, norm: Config, branches: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, at: Layout, branches: Sequence[Branch], normal: Normal = whole) -> Tensor:
        raise NotImplementedError


class Depth(Part):
    """Says what the next layer reads, of all that came before. Built with (config, width, layers)."""

    family = "depths"

    def __init__(self, config: Config, width: int, layers: int) -> None:
        super().__init__()

    def forward(self, history: Sequence[Tensor]) -> Tensor:
        """The embedded tokens and the answers of the layers so far, each (B, T, D) -> (B, T, D)."""
        raise NotImplementedError


class Feature(Part):
    """Maps queries and keys so that phi(q) . phi(k) >= 0 is the weight of a key. Built with (config, heads, size).

    A map that is the same for both overrides `map`, others `forward`; padding is clean. `size` after building is
    that of phi.
    """

    family = "features"
    signed: bool = False  # whether this instance breaks that promise: a weight, and then a sum of them, may be below 0

    def __init__(self, config: Config, heads: int, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(phi(q), phi(k)): (B, H, T, head width) -> (B, H, T, size) each."""
        return self.map(q), self.map(k)

    def map(self, x: Tensor) -> Tensor:
        """phi(x), of a query or a key."""
        raise NotImplementedError


class Normaliser(Part):
    """Turns the scores of keys into the weights of their values, where that is not softmax. Built with (config, heads).

    What it answers for keys that are not visible counts for nothing, but must be finite.
    """

    family = "normalisers"

    def __init__(self, config: Config, heads: int) -> None:
        super().__init__()

    def forward(self, score: Tensor, keep: Tensor, seen: Tensor) -> Tensor:
        """score (B, H, T, S), finite; keep (B|1, H|1, T, S) bool, the visible keys; seen (B|1, H|1, T, 1), how many
        they are, 1 at least, in the type of the score -> weights (B, H, T, S)."""
        raise NotImplementedError


class Pattern(Part):
    """Which tokens may look at which, by their positions alone. Built with (config, heads)."""

    family = "patterns"
    score: Sparse  # what the heads see
    growth: str = "n"  # of the pairs that are seen, against length

    def __init__(self, config: Config, heads: int) -> None:
        super().__init__()


class Embed(Part):
    """Raw input -> hidden vectors and their layout. Built with (config, width).

    `reads` is the kind of raw input: "tokens" (B, T) int, "values" (B, T, C) float, "image" (B, C, H, W),
    "video" (B, F, C, H, W).
    Raw padding may hold anything; hidden padding is zero.
    """

    family = "embeds"
    reads: ClassVar[str]
    couples: Literal["batch", "sequence"] | None = None  # what else one token's vector depends on

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        raise NotImplementedError

    def undo(self, out: Tensor, raw: Tensor, at: Layout | None = None) -> Tensor:
        """The head's output in the units of `raw`, where the embed rescaled its input."""
        return out

    def dummy(self, batch: int, length: int) -> Tensor:
        """Raw input of zeros that becomes about `length` tokens, to trace shapes and costs with."""
        if self.reads == "tokens":
            return torch.zeros(batch, length, dtype=torch.int64)
        return torch.zeros(batch, length, getattr(self, "channels", 1))


class Head(Part):
    """Hidden vectors -> task output. Built with (config, width).

    Heads per sequence answer (N, ...), one row per sequence in batch order; heads per token (B, T, ...).
    `tied` is the embedding table of the model, given to heads that share it.
    """

    family = "heads"
    ties: bool = False  # whether this instance shares the embedding table
    pools: ClassVar[bool] = False  # whether it answers once per sequence, not once per token
    in_units: ClassVar[bool] = (
        False  # whether its answer is in the units of the input, which an embed may have rescaled
    )

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Objective(Part):
    """What training minimises. Built with (config).

    With more than one of `passes` the model reads every batch so often, and `out` holds the answers one pass after
    the other along the batch; the target is given once.
    """

    family = "objectives"
    passes: ClassVar[int] = 1

    def corrupt(self, raw: Any, at: Layout, rng: torch.Generator) -> tuple[Any, Any]:
        """(what the model reads, what it must answer), from one batch of raw input."""
        raise NotImplementedError

    def loss(self, out: Tensor, target: Any) -> Mapping[str, Tensor]:
        """Named scalars; "loss" is the one to minimise."""
        raise NotImplementedError


class Reducer(Part):
    """Changes how many tokens there are: (B, T, D), Layout -> (B, T', D'), Layout'.

    Built with (config, width, width after).
    """

    family = "reducers"
    lattice: ClassVar[bool] = False  # whether it needs Layout.grid

    def forward(self, x: Tensor, at: Layout) -> tuple[Tensor, Layout]:
        raise NotImplementedError


class Linear(Part):
    """Stands where a linear map stands: (..., inputs) -> (..., outputs).

    Built with (config, inputs, outputs, bias); `take` fills it from the plain map that it replaces.
    """

    family = "linears"
    learns: ClassVar[bool] = False  # whether models are trained with it, not only put into this form afterwards
    fuses: ClassVar[frozenset[str]] = frozenset()  # activations that `fused` can apply
    fits: ClassVar[bool] = False  # whether `fit` may be called in the place of `take`

    def take(self, plain: nn.Linear) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def fused(self, x: Tensor, activation: Any) -> Tensor:
        """The activation of the answer, in one operation."""
        raise NotImplementedError(f"{self.use()} fuses no activation")

    def fit(self, plain: nn.Linear, low: Tensor, high: Tensor) -> None:
        """`take`, where the least and the largest number that each input (inputs,) had on a sample are known."""
        raise NotImplementedError(f"{self.use()} has no use for what comes in")

    @classmethod
    def together(cls, x: Tensor, maps: Sequence[Any]) -> tuple[Tensor, ...]:
        """The answers of maps of this class to one input; work on the input may be shared."""
        return tuple(m(x) for m in maps)


def head_width(part: Part, width: int, heads: int) -> int:
    """How wide each head of `part` is: the heads share the width evenly, or the part is refused."""
    if width % heads:
        raise InputError(f"{part.use()}: width {width} does not divide into {heads} heads")
    return width // heads
