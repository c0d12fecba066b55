"""Softmax attention: multi-head, grouped-query or multi-query, over the whole past, a window, or a prefix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Mixer, Norm, Normaliser, Pattern, head_width, linear
from ..core.grow import grown, tail
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.score import Causal, Given, Mask, Prefix, Same, Score, Window
from ..core.shared import Shared
from ..core.sparse import Sparse
from ..ops.attend import attend, merge_heads, split_heads
from ..ops.maps import together
from ..ops.weigh import plain, weigh
from ._past import first_seen, joined, nothing, remembered, waiting


class KeyValues(NamedTuple):
    """What a layer can lend: rotated keys, values, and where they sit."""

    k: Tensor  # (B, G, S, E)
    v: Tensor  # (B, G, S, E)
    at: Layout
    marks: Tensor | None = None  # (B, H, S, ...), what the position has read off every token


class Attention(Mixer):
    """o(softmax(q k' / sqrt(E) + score) v), heads in groups that share keys and values.

    `kv_heads` = heads is multi-head, 1 is multi-query. `window` limits how far a token looks; the first
    `prefix` tokens of a sequence are visible to all, so that a causal mask becomes that of a prefix LM. `qk_norm`
    normalises every head's query and key before they are turned, `out_norm` what `o` reads; `cap` bounds q k' / sqrt(E)
    to +-cap by tanh. A `pattern` limits each head to the places it names. Vaswani et al. 2017; Shazeer 2019
    (multi-query); Ainslie et al. 2023 (groups); Dehghani et al. 2023 (qk_norm); Wang et al. 2022 (out_norm); Team Gemma
    2024 (cap).

    A layer that reads `values` adds them to its own, in shares that are learned and begin as halves. Zhou et al. 2024, ResFormer.

    A `normaliser` turns scores into weights in place of the softmax. `gate` multiplies what every `head` found, or every
    `channel` of it, by sigmoid(g(x)): Bondarenko et al. 2023 (head); Qiu et al. 2025 (channel).
    """

    paper = "Vaswani et al. 2017, Attention is all you need"
    positions = frozenset({"rotate", "bias", "context", "factor", "group"})
    gives = takes = ("kv", "values")
    undecayed = ("shares",)
    operator: Callable[..., Tensor] = attend  # another may stand in its place on a model, for a while
    examples = (
        {"heads": 2},
        {"heads": 4, "kv_heads": 2, "causal": True},
        {"heads": 2, "kv_heads": 1, "causal": True, "window": 5},
        {"heads": 2, "window": 4},
        {"heads": 2, "bias": True, "k_bias": False},
        {"heads": 2, "causal": True, "prefix": 3, "bias": True},
        {"heads": 2, "causal": True, "position": "rope"},
        {"heads": 2, "causal": True, "window": 4, "position": "alibi"},
        {"heads": 4, "kv_heads": 2, "causal": True, "window": 5, "position": "cable"},
        {"heads": 2, "causal": True, "window": 5, "position": {"use": "urpe", "reach": 4, "inside": "rope"}},
        {"heads": 4, "kv_heads": 2, "causal": True, "position": "gta"},
        {"heads": 2, "causal": True, "cap": 2.0, "position": {"use": "relative_vectors", "reach": 4}},
        {"heads": 4, "kv_heads": 2, "qk_norm": "rms", "out_norm": "rms", "causal": True, "position": "rope"},
        {"heads": 2, "cap": 0.5, "causal": True, "window": 5},
        {"heads": 2, "causal": True, "window": 5, "normaliser": "relu"},
        {"heads": 4, "kv_heads": 2, "causal": True, "normaliser": "sigmoid", "position": "alibi"},
        {"heads": 2, "causal": True, "gate": "head"},
        {"heads": 2, "gate": "channel"},
        {"heads": 2, "causal": True, "pattern": "strided"},
        {"heads": 4, "kv_heads": 2, "causal": True, "pattern": {"use": "fixed", "marks": 2}, "position": "alibi"},
        {"heads": 2, "causal": True, "pattern": {"use": "dilated", "segments": [4, 12], "rates": [1, 3]}},
        {"heads": 2, "pattern": {"use": "first", "window": 3, "tokens": 2}},
    )

    class Config(Base):
        heads: int = Field(4, gt=0)
        kv_heads: int | None = Field(None, gt=0, description="key and value heads; default: heads")
        head_width: int | None = Field(None, gt=0, description="default: width / heads")
        causal: bool | None = None
        window: int | None = Field(None, gt=0, description="tokens visible on each side, itself included")
        prefix: int = Field(0, ge=0, description="first tokens that all may see")
        bias: bool = False
        out_bias: bool | None = Field(None, description="default: as bias")
        k_bias: bool | None = Field(None, description="default: as bias")
        scale: float | None = Field(None, gt=0, description="default: head_width ** -0.5")
        cap: float | None = Field(None, gt=0, description="bound of every scaled product")
        qk_norm: Annotated[Base | None, Slot("norms")] = None
        out_norm: Annotated[Base | None, Slot("norms")] = None
        normaliser: Annotated[Base | None, Slot("normalisers")] = Field(None, description="null: softmax")
        gate: Literal["head", "channel"] | None = Field(None, description="what a sigmoid of x scales before o")
        dropout: float = Field(0.0, ge=0, lt=1)
        position: Annotated[Base | None, Slot("positions")] = None
        pattern: Annotated[Base | None, Slot("patterns")] = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        groups = c.kv_heads or c.heads
        if c.heads % groups:
            raise InputError(f"attention: {c.heads} heads do not divide into {groups} kv_heads")
        size = c.head_width or head_width(self, width, c.heads)
        self.heads, self.groups, self.size = c.heads, groups, size
        self.causal, self.window, self.dropout = bool(c.causal) and not c.prefix, c.window, c.dropout
        self.scale, self.cap = size**-0.5 if c.scale is None else c.scale, c.cap
        self.mask: Score = _mask(bool(c.causal), c.window, c.prefix)
        self.growth = "n" if c.window and not c.prefix else "n^2"
        self.pattern: Pattern | None = c.pattern.build(c.heads) if c.pattern else None
        if self.pattern is not None:
            if c.window or c.prefix:
                raise InputError("attention: a pattern says what is seen; window and prefix do not go with it")
            self.mask = self.mask + self.pattern.score
            dense = c.normaliser is not None or (c.position is not None and c.position.part.kind == "factor")
            self.growth = "n^2" if dense else self.pattern.growth  # only plain softmax has a sparse form
        self.reads = c.position is not None and c.position.part.kind == "context"
        if self.reads and c.position is not None:
            if self.pattern is not None:
                raise InputError(f"attention: {c.position.part.use()!r} counts tokens that a pattern forgets")
            self.growth = "n^2"  # its values stand for all pairs at once
        self.q = linear(width, c.heads * size, c.bias)
        self.k: nn.Module | None = linear(width, groups * size, c.bias if c.k_bias is None else c.k_bias)
        self.v: nn.Module | None = linear(width, groups * size, c.bias)
        self.o = linear(c.heads * size, width, c.bias if c.out_bias is None else c.out_bias)
        self.q_norm, self.k_norm = _norm(c.qk_norm, size), _norm(c.qk_norm, size)
        self.out_norm = _norm(c.out_norm, c.heads * size)
        self.normaliser: Normaliser | None = c.normaliser.build(c.heads) if c.normaliser else None
        self.gate = linear(width, c.heads * (1 if c.gate == "head" else size), True) if c.gate else None
        self.position = c.position.build(c.heads, size, *(width,) * self.reads) if c.position else None
        self.width = width
        self.shares: nn.Parameter | None = None

    def borrow(self, name: str) -> None:
        """Read keys and values that an earlier layer lends instead of computing them, or mix its values into one's own."""
        if name == "values":
            self.shares = nn.Parameter(torch.full((2,), 0.5))  # of what is lent and of one's own
        else:
            self.k = self.v = self.k_norm = None
        if self.v is None and self.shares is not None:
            raise InputError("attention: a layer that reads kv has no values of its own to mix with those it reads")

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        q, new = self._maps(x, at, shared)
        return self._mix(x, q, at, new or _lent(shared, "kv"), shared)

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        if self.k is None:
            return ()
        empty = like.new_zeros(batch, self.groups, 0, self.size)
        marks = self._marks(like.new_zeros(batch, 0, self.width), Layout.dense(batch, 0, device=like.device))
        return empty, empty, *_some(marks), *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        x = at.clean(x)
        q, new = self._maps(x, at, shared)
        if new is None:
            kv = _lent(shared, "kv")
        else:
            kv, state = self._append(new, at, state)
        return self._mix(x, q, at, kv, shared), state

    def advance(self, x, at, state, shared=None):
        _, new = self._maps(at.clean(x), at, shared)
        return state if new is None else self._append(new, at, state)[1]

    def _append(self, new: KeyValues, at: Layout, state: tuple[Tensor, ...]) -> tuple[KeyValues, tuple[Tensor, ...]]:
        """(keys and values so far, the state that later tokens need of them)."""
        k, v, *marks, seg, pos = state
        kv = KeyValues(
            grown(k, new.k, 2),
            grown(v, new.v, 2),
            joined((seg, pos), at),
            None if new.marks is None else grown(marks[0], new.marks, 2),
        )
        kept = kv
        if self.window is not None and not exporting():
            kept = _trim(kv, self.window)
        elif self.pattern is not None and not exporting():
            kept = _waiting(kv, self.pattern.score)
        return kept if at.length == 1 else kv, (kept.k, kept.v, *_some(kept.marks), *remembered(kept.at))

    def _maps(self, x: Tensor, at: Layout, shared: Shared | None) -> tuple[Tensor, KeyValues | None]:
        """(queries (B, H, T, E), new keys and values unless they are lent)."""
        if self.k is None or self.v is None:
            q, new = self.q(x), None
        else:
            q, k, v = together(x, self.q, self.k, self.v)
            k, v = _heads(k, self.groups, self.k_norm, at), split_heads(v, self.groups)
            if self.shares is not None:
                v = self.shares[0] * _lent(shared, "values") + self.shares[1] * v
            if shared is not None:
                shared.give("values", v)
            if self.position is not None:
                k, v = self.position.key(k, at), self.position.value(v, at)
            new = KeyValues(k, v, at, self._marks(x, at))
        q = _heads(q, self.heads, self.q_norm, at)
        return q if self.position is None else self.position.query(q, at), new

    def _mix(self, x: Tensor, q: Tensor, at: Layout, kv: KeyValues, shared: Shared | None) -> Tensor:
        if shared is not None:
            shared.give("kv", kv)
        score = self._score(q, kv, at)
        dropout = self.dropout if self.training else 0.0
        factor = self.position.factor() if self.position is not None else None
        if self.normaliser is None and factor is None:
            y = self.operator(q, kv.k, kv.v, score, at, kv.at, self.scale, dropout, self.cap)
        else:
            weights = plain if self.normaliser is None else self.normaliser
            y = weigh(q, kv.k, kv.v, score, at, kv.at, self.scale, weights, dropout, self.cap, factor)
        if self.position is not None:
            y = self.position.back(y, at)
        if self.gate is not None:
            y = y * split_heads(self.gate(x).sigmoid(), self.heads)
        y = merge_heads(y)
        return self.o(y if self.out_norm is None else self.out_norm(y, at))

    def _score(self, q: Tensor, kv: KeyValues, at: Layout) -> Score:
        bias = self.position.bias() if self.position is not None else None
        score = self.mask if bias is None else self.mask + bias
        if self.position is None or not self.reads:
            return score
        context = self.position.context(q * self.scale, kv.k, kv.marks, at, kv.at)
        return score if context is None else score + Given(context)

    def _marks(self, x: Tensor, at: Layout) -> Tensor | None:
        return self.position.marks(x, at) if self.position is not None and self.reads else None


def _lent(shared: Shared | None, name: str) -> Any:
    lent = shared.take(name) if shared is not None else None
    assert lent is not None, f"{name} come from an earlier layer"
    return lent


def _some(x: Tensor | None) -> tuple[Tensor, ...]:
    return () if x is None else (x,)


def _norm(c: Base | None, width: int) -> Norm | None:
    if c is not None and not c.part.pointwise:
        raise InputError(f"attention: norm {c.part.use()!r} looks at all tokens at once; within a mixer it must not")
    return c.build(width) if c is not None else None


def _heads(x: Tensor, heads: int, norm: Norm | None, at: Layout) -> Tensor:
    """(B, T, H*E) -> (B, H, T, E), every head normalised alone."""
    x = x.view(*x.shape[:-1], heads, -1)
    return (x if norm is None else norm(x, at)).transpose(1, 2)


def _mask(causal: bool, window: int | None, prefix: int) -> Mask:
    near: Mask | None = Causal() if causal else None
    if window is not None:
        near = Window(window) if near is None else near & Window(window)
    if near is None:
        return Same()
    return Same() & (near | Prefix(prefix)) if prefix else Same() & near


def _trim(kv: KeyValues, window: int) -> KeyValues:
    """Forget the columns that no later token of any row can see."""
    at = kv.at
    first = first_seen(at, window)
    if not first:
        return kv
    kept = at.derive(("from", first), lambda: at.span(first, at.length))
    marks = None if kv.marks is None else tail(kv.marks, 2, first)
    return KeyValues(tail(kv.k, 2, first), tail(kv.v, 2, first), kept, marks)


def _waiting(kv: KeyValues, pattern: Sparse) -> KeyValues:
    """Forget the columns that no later token of any row looks at."""
    which = waiting(kv.at, pattern)
    if which is None:
        return kv
    at = kv.at.derive(("waiting", pattern), lambda: kv.at.pick(which))
    return KeyValues(kv.k.index_select(2, which), kv.v.index_select(2, which), at)
