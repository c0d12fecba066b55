"""Where each token sits: which sequence it belongs to, and at which coordinates.

One type serves dense, padded and packed batches. Every mixer reads the layout instead of a mask,
so what is true of one batch form is true of all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import ref

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError, check_type
from .grow import grown


@dataclass(frozen=True, eq=False)
class Layout:
    """Positions of B rows of T tokens.

    seg    (B, T) int64     sequence id within the row, rising from 0; -1 marks padding
    pos    (B, T, P) int64  coordinates within the sequence: text 1, image 2 (row, column), video 3
    grid   lattice sizes, when every row holds one full lattice in raster order
    full   True only where it is known that every row is one sequence without padding;
           it lets an operator skip masks and never changes a result
    padless   True only where it is known that no place is padding, as in a packed row
    single True only where it is known that every row starts with its one sequence, the rest is padding, and the
           longest fills its row; it spares an operator the search for sequences and never changes a result
    pose   (B, T, 4, 4), what takes homogeneous points of the world into the token's own frame, where tokens have one
    """

    seg: Tensor
    pos: Tensor
    grid: tuple[int, ...] | None = None
    full: bool = False
    padless: bool = False
    single: bool = False
    pose: Tensor | None = None
    _memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    # ---- constructors

    @classmethod
    def dense(cls, batch: int, length: int, start: int = 0, device: torch.device | str | None = None) -> Layout:
        """B full sequences of equal length; `start` is the position of the first token."""
        _check_sizes(batch=batch, length=length)
        pos = torch.arange(start, start + length, device=device).expand(batch, length)[..., None]
        seg = torch.zeros(1, 1, dtype=torch.int64, device=device).expand(batch, length)
        return cls(seg, pos, full=True)

    @classmethod
    def padded(cls, lengths: Sequence[int] | Tensor, size: int | None = None, side: str = "right") -> Layout:
        """One sequence per row, padded to `size` (the longest by default) on the `right` or `left`."""
        known = isinstance(lengths, Tensor) and not lengths.is_floating_point()
        n = torch.as_tensor(lengths if known or exporting() else _whole(lengths), dtype=torch.int64)
        if n.dim() != 1 or n.numel() == 0 or (not exporting() and bool((n < 1).any())):
            raise InputError(f"lengths must be a non-empty list of positive integers, got {n.tolist()}")
        if side not in ("right", "left"):
            raise InputError(f"side must be 'right' or 'left', got {side!r}")
        if exporting() and size is not None:  # one program for all lengths: none of them may be looked at
            longest, full = size, False
        else:
            longest = int(n.max())
            size = longest if size is None else size
            full = bool((n == size).all())
        if longest > size:
            raise InputError(f"a sequence of length {longest} does not fit a batch of length {size}")
        where = torch.arange(size, device=n.device)[None]
        pos = where - (size - n)[:, None] if side == "left" else where.expand(n.shape[0], size)
        valid = (pos >= 0) & (pos < n[:, None])
        seg = torch.where(valid, 0, -1)
        single = side == "right" and longest == size
        return cls(seg, torch.where(valid, pos, 0)[..., None], full=full, single=single)

    @classmethod
    def packed(cls, lengths: Sequence[int], device: torch.device | str | None = None) -> Layout:
        """All sequences one after the other in a single row, no padding."""
        n = _whole(lengths)
        if not n or min(n) < 1:
            raise InputError(f"lengths must be a non-empty list of positive integers, got {n}")
        seg = torch.repeat_interleave(torch.arange(len(n)), torch.tensor(n)).to(device)
        pos = torch.cat([torch.arange(i) for i in n]).to(device)
        return cls(seg[None], pos[None, :, None], full=len(n) == 1, padless=True)

    @classmethod
    def lattice(cls, batch: int, grid: tuple[int, ...], device: torch.device | str | None = None) -> Layout:
        """B full lattices in raster order; coordinates count cells along each axis."""
        if not isinstance(grid, Sequence) or not grid or isinstance(grid, str):
            raise InputError(f"a lattice needs its sizes, such as (8, 8), got {grid!r}")
        _check_sizes(batch=batch, **{f"axis {i}": g for i, g in enumerate(grid)})
        axes = torch.meshgrid(*(torch.arange(g, device=device) for g in grid), indexing="ij")
        pos = torch.stack([a.flatten() for a in axes], -1)
        seg = torch.zeros(1, 1, dtype=torch.int64, device=device).expand(batch, pos.shape[0])
        return cls(seg, pos.expand(batch, *pos.shape), tuple(grid), full=True)

    # ---- derived facts, computed once

    def derive(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Remember a parameter-free fact about this layout (a mask, an index, rotation angles)."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    @property
    def batch(self) -> int:
        return self.seg.shape[0]

    @property
    def length(self) -> int:
        return self.seg.shape[1]

    @property
    def device(self) -> torch.device:
        return self.seg.device

    @property
    def valid(self) -> Tensor:
        """(B, T) bool, False at padding."""
        return self.derive("valid", lambda: self.seg >= 0)

    @property
    def starts(self) -> Tensor:
        """(B, T) bool, True at the first token of every sequence."""

        def make() -> Tensor:
            before = F.pad(self.seg, (1, 0), value=-2)[:, :-1]
            return (self.seg != before) & self.valid

        return self.derive("starts", make)

    @property
    def ordinal(self) -> Tensor:
        """(B, T) int64: which sequence of the whole batch a token belongs to; -1 at padding."""

        def make() -> Tensor:
            if self.full:
                return torch.arange(self.batch, device=self.device)[:, None].expand(self.batch, self.length)
            if self.single:
                return torch.where(self.valid, torch.arange(self.batch, device=self.device)[:, None], -1)
            flat = self.starts.flatten().long().cumsum(0).view_as(self.seg) - 1
            return torch.where(self.valid, flat, -1)

        return self.derive("ordinal", make)

    @property
    def lengths(self) -> Tensor:
        """(N,) int64, tokens of every sequence, rows first, then order within the row."""

        def make() -> Tensor:
            if self.full:
                return torch.full((self.batch,), self.length, device=self.device)
            if self.single:
                return self.valid.sum(1)
            return torch.bincount(self.ordinal[self.valid])

        return self.derive("lengths", make)

    @property
    def sequences(self) -> int:
        """N, the number of sequences in the batch."""
        return self.batch if self.full or self.single else len(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        if self.full or self.single:
            return self.length
        return int(self.lengths.max()) if len(self.lengths) else 0

    @property
    def crowded(self) -> bool:
        """Whether a row holds tokens of more than one sequence."""
        most = self.seg.amax(1, keepdim=True)
        return bool((self.valid & (self.seg != most)).any())

    @property
    def cu_seqlens(self) -> Tensor:
        """(N + 1,) int32 borders of the sequences in the batch without its padding."""
        return self.derive("cu_seqlens", lambda: F.pad(self.lengths.cumsum(0), (1, 0)).to(torch.int32))

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        """One row per sequence: (N, L) index into the B*T flattened tokens, (N, L) bool which are real."""

        def make() -> tuple[Tensor, Tensor]:
            real = torch.arange(self.longest, device=self.device)[None] < self.lengths[:, None]
            index = torch.zeros(self.sequences, self.longest, dtype=torch.int64, device=self.device)
            index[real] = self.valid.flatten().nonzero()[:, 0]
            return index, real

        return self.derive("rows", make)

    # ---- moving between forms

    def clean(self, x: Tensor) -> Tensor:
        """x with zeros at padding, whatever stood there (NaN too). x (B, T, ...)."""
        if self.full or self.padless:
            return x
        return torch.where(self.valid.view(*self.seg.shape, *[1] * (x.dim() - 2)), x, x.new_zeros(()))

    def to_rows(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (N, L, ...): one right-padded row per sequence, zeros at padding."""
        if self.full or self.single:
            return self.clean(x)
        index, real = self.rows
        out = x.flatten(0, 1)[index]
        return torch.where(real.view(*real.shape, *[1] * (x.dim() - 2)), out, out.new_zeros(()))

    def from_rows(self, rows: Tensor) -> Tensor:
        """(N, L, ...) -> (B, T, ...): the inverse of `to_rows`, zeros at padding."""
        if self.full or self.single:
            return self.clean(rows)
        index, real = self.rows
        out = rows.new_zeros(self.batch * self.length, *rows.shape[2:])
        out = out.index_copy(0, index[real], rows[real])
        return out.view(self.batch, self.length, *rows.shape[2:])

    def as_rows(self) -> Layout:
        """The layout of `to_rows`: one right-padded sequence per row, with the tokens' own coordinates."""
        if self.full or self.single:
            return self

        def make() -> Layout:
            pose = None if self.pose is None else self.to_rows(self.pose)
            return Layout(torch.where(self.rows[1], 0, -1), self.to_rows(self.pos), pose=pose)

        return self.derive("as_rows", make)

    # ---- pieces and sums

    def span(self, a: int, b: int) -> Layout:
        """Tokens a to b of every row. A lattice's span is a plain sequence."""
        pose = None if self.pose is None else self.pose[:, a:b]
        out = Layout(self.seg[:, a:b], self.pos[:, a:b], full=self.full, pose=pose)
        last = self._last()
        if last is not None and b == self.length and b - a >= last.length:
            out._memo["last"] = ref(last)
        return out

    def pick(self, columns: Tensor) -> Layout:
        """The given tokens of every row, in rising order; all of them are there, so a full row stays free of padding."""
        return Layout(self.seg.index_select(1, columns), self.pos.index_select(1, columns), full=self.full)

    def then(self, other: Layout) -> Layout:
        """This layout followed by more tokens of the same rows."""
        full = self.full and other.full
        if full:  # all of them are of the one sequence
            seg = other.seg[:, :1].expand(-1, self.length + other.length)
        else:
            seg = grown(self.seg, other.seg, 1)
        out = Layout(seg, grown(self.pos, other.pos, 1), full=full)
        out._memo["last"] = ref(other)
        return out

    def ends_with(self, other: Layout) -> bool:
        """Whether this is known to be `other`, or earlier tokens of the same rows and then `other`."""
        return self is other or self._last() is other

    def _last(self) -> Layout | None:
        found: ref[Layout] | None = self._memo.get("last")
        return None if found is None else found()

    def select(self, rows: Tensor) -> Layout:
        """The given rows, in the given order."""
        pose = None if self.pose is None else self.pose[rows]
        return Layout(self.seg[rows], self.pos[rows], self.grid, self.full, pose=pose)  # the longest may be gone

    def to(self, device: torch.device | str) -> Layout:
        pose = None if self.pose is None else self.pose.to(device)
        return replace(self, seg=self.seg.to(device), pos=self.pos.to(device), pose=pose, _memo={})


def _check_sizes(**sizes: Any) -> None:
    for name, n in sizes.items():
        if not hasattr(n, "__index__") or (not exporting() and n < 0):
            raise InputError(f"a layout's {name} is a whole number from 0 on, got {n!r}")


def _whole(lengths: Any) -> list[int]:
    """Lengths as a list of whole numbers."""
    try:
        return [operator.index(n) for n in lengths]
    except TypeError:
        raise InputError(f"lengths must be a non-empty list of positive integers, got {lengths!r}") from None


def _lengths_of(sequences: Any, what: str) -> list[int]:
    """Of tensors that can stand in one batch."""
    if isinstance(sequences, Tensor | str) or not isinstance(sequences, Iterable):
        raise InputError(f"{what} takes a list of tensors, one per sequence, got a {type(sequences).__name__}")
    given = list(sequences)
    if not given:
        raise InputError(f"{what} needs at least one sequence")
    for i, x in enumerate(given):
        check_type(f"{what}: sequence {i}", x, Tensor)
        if x.dim() == 0 or x.shape[1:] != given[0].shape[1:]:
            raise InputError(f"{what}: sequence {i} has shape {tuple(x.shape)}, sequence 0 has {tuple(given[0].shape)}")
    return [len(x) for x in given]


def exporting() -> bool:
    """Whether `torch.export` is reading the code now: then no number of the input may steer it."""
    return bool(getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)())


class Batch(NamedTuple):
    """Raw input and where its tokens sit; what `pack` and `pad` make and a model accepts."""

    x: Tensor
    at: Layout | None = None  # None: one full sequence (or image) per row


def pack(sequences: Sequence[Tensor]) -> Batch:
    """Sequences (T_i, ...) -> one row (1, sum T_i, ...) without padding, and its layout."""
    lengths = _lengths_of(sequences, "pack")
    return Batch(torch.cat(list(sequences), 0)[None], Layout.packed(lengths, sequences[0].device))


def pad(sequences: Sequence[Tensor], side: str = "right") -> Batch:
    """Sequences (T_i, ...) -> (B, longest, ...) with zeros at padding, and its layout."""
    at = Layout.padded(_lengths_of(sequences, "pad"), side=side).to(sequences[0].device)
    x = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_side=side)
    return Batch(x, at)
