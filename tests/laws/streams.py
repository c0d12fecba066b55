"""Reading in pieces: chunks, steps and ragged rows give what the whole gives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from panformer.core import state as states
from panformer.core.layout import Layout
from panformer.core.part import Part
from panformer.core.shared import Shared

from .families import subject
from .judge import LONG, Options, law, must, same, streams


@law(streams)
def chunks(part: type[Part], options: Options) -> None:
    """Any cut of the input into chunks gives what the whole gives, wherever the sequence starts."""
    s = subject(part, options)
    m = s.build()
    x = torch.stack(s.sequences([LONG] * 3))
    for start, sizes in ((0, (LONG,)), (0, (1, 7, 3, 12)), (0, (6, 6, 6, 5)), (40, (9, 14))):
        at, shared = Layout.dense(3, LONG, start), s.shared("rows", [LONG] * 3)
        outs, held, a = [], m.start(3, x), 0
        for size in sizes:
            y, held = s.chunk(m, x[:, a : a + size], at.span(a, a + size), held, shared)
            outs.append(y)
            a += size
        same(s.call(m, x, at, shared), torch.cat(outs, 1), f"chunks of {sizes} from position {start} and the whole")


@law(streams)
def steps(part: type[Part], options: Options) -> None:
    """One token at a time gives what the whole gives."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
    shared = s.shared("rows", [LONG] * 2)
    outs, held = [], m.start(2, x)
    for t in range(LONG):
        y, held = s.step(m, x[:, t : t + 1], at.span(t, t + 1), held, shared)
        outs.append(y)
    same(s.call(m, x, at, shared), torch.cat(outs, 1), "steps and the whole")


@law(streams)
def ragged(part: type[Part], options: Options) -> None:
    """Rows may bring different numbers of tokens to a chunk, none too, with NaN padding anywhere."""
    s = subject(part, options)
    m = s.build()
    x, shared = torch.stack(s.sequences([LONG] * 3)), s.shared("rows", [LONG] * 3)
    whole = s.call(m, x, Layout.dense(3, LONG), shared)
    for where in ("right", "left", "scattered"):
        held, done = m.start(3, x), [0, 0, 0]
        for counts in ((6, 4, 2), (0, 5, 1), (7, 0, 3), (1, 1, 1)):
            size = max(counts) + (2 if where == "scattered" else 0)
            slots = [_slots(where, n, size) for n in counts]
            piece, seg = x.new_full((3, size, x.shape[-1]), torch.nan), torch.full((3, size), -1)
            pos = torch.zeros(3, size, 1, dtype=torch.int64)
            for row, (n, slot) in enumerate(zip(counts, slots)):
                seg[row, slot], pos[row, slot, 0] = 0, torch.arange(done[row], done[row] + n)
                piece[row, slot] = x[row, done[row] : done[row] + n]
            y, held = s.chunk(m, piece, Layout(seg, pos), held, shared)
            for row, (n, slot) in enumerate(zip(counts, slots)):
                want = whole[row, done[row] : done[row] + n]
                same(want, y[row, slot], f"row {row} of ragged chunks, {where} padding, and the whole")
                done[row] += n


def _slots(where: str, n: int, size: int) -> list[int]:
    """Which of `size` places n tokens take."""
    if where == "scattered":
        return [i * size // n for i in range(n)]
    return list(range(size - n, size) if where == "left" else range(n))


@law(streams)
def reorder(part: type[Part], options: Options) -> None:
    """A state is a tree of tensors, batch first: rows can be dropped, copied and exchanged."""
    s = subject(part, options)
    m = s.build()
    x, at, shared = torch.stack(s.sequences([9] * 3)), Layout.dense(3, 9), s.shared("rows", [9] * 3)
    _, held = s.chunk(m, x[:, :8], at.span(0, 8), m.start(3, x), shared)
    for leaf in [*tree_leaves(m.start(3, x)), *tree_leaves(held)]:
        must(isinstance(leaf, Tensor), f"the state holds a {type(leaf).__name__}, which is no tensor")
        must(leaf.dim() > 0 and leaf.shape[0] == 3, f"the state holds a tensor {tuple(leaf.shape)} for a batch of 3")
    order = torch.tensor([2, 0, 0, 1])
    lent = {k: (v[order], a.select(order)) for k, (v, a) in shared.lent.items()}
    last = at.span(8, 9)
    plain, _ = s.chunk(m, x[:, 8:], last, held, shared)
    moved, _ = s.chunk(
        m,
        x[order, 8:],
        last.select(order) if lent else Layout.dense(4, 1, 8),
        states.reorder(held, order),
        Shared(lent),
    )
    same(plain[order], moved, "rows of a state in another order")


@law(lambda s, m: bool(getattr(s.part, "takes", ())))
def lends(part: type[Part], options: Options) -> None:
    """What one layer lends another uses, alike in the whole and in steps, and then keeps nothing itself."""
    s = subject(part, options)
    for name in s.part.takes:
        must(name in s.part.gives, f"takes {name!r} but does not give it, so no layer of its kind can lend it")
        first, second = s.build(0), s.build(1)
        second.borrow(name)
        x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
        one = Shared()
        h = x + first(x, at, one)
        must(name in one.given, f"declares that it gives {name!r} but does not")
        whole = h + second(h, at, Shared({name: one.given[name]}))
        other = Shared()
        first(torch.flip(x, [1]), at, other)
        swapped = h + second(h, at, Shared({name: other.given[name]}))
        must(not torch.equal(whole, swapped), f"ignores the {name!r} that it borrows")
        outs, a, b = [], first.start(2, x), second.start(2, x)
        if not (first.causal and first.streams):
            continue
        for t in range(LONG):
            here, one = at.span(t, t + 1), Shared()
            y, a = first.step(x[:, t : t + 1], here, a, one)
            h = x[:, t : t + 1] + y
            y, b = second.step(h, here, b, Shared({name: one.given[name]}))
            outs.append(h + y)
        same(whole, torch.cat(outs, 1), f"two layers that share {name!r}, in steps and the whole")
