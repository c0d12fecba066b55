"""Facts about attention kernels under masks, and about attention over several processes: what is equal, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch import distributed as dist

from ...core.layout import Layout
from ...core.score import Causal, Prefix, Same, Score, Window
from ...measure import masks as table
from ...ops.attend import reference
from ...ops.kernels import attend_blocks
from ...parallel.attend import attend
from ...parallel.grid import Grid, Order, Spread, launch, places

Sides = tuple[list[Tensor], list[Tensor]]
Way = Literal["ring", "zigzag", "ulysses", "usp"]
LENGTH, WIDTH, ROWS, SCALE = 64, 8, 2, 0.4
TOGETHER = ((4, 4), (8, 4))  # numbers of heads and of heads of keys that most facts ask for
SPREAD: dict[str, Score] = {
    "full": Same(),
    "causal": Same() & Causal(),
    "window": Same() & Causal() & Window(9),
    "prefix": Same() & (Causal() | Prefix(11)),
}


# ---- kernels and masks


def agrees(seed: int, kernel: str, lengths: Sequence[int], masked: bool = True) -> Sides:
    """Answers, and gradients where it has them, of a kernel and of the plain formula under every mask that it takes.

    `masked: false` lets the formula see everything, which must not be equal.
    """
    one = table.kernel(kernel)
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    for length in lengths:
        for mask in table.MASKS:
            if table.why(kernel, mask, length) is not None or (mask == "full" and not masked):
                continue
            case = table.case(mask, length)
            plain = case if masked else table.case("full", length)
            args = q, k, v = tuple(x.requires_grad_(one.learns) for x in table.inputs(case, seed))
            for side, run, (score, at) in ((ours, one.run, case), (theirs, reference, plain)):
                out = run(q, k, v, score, at, at, table.SCALE)
                side += [out, *(torch.autograd.grad(out.sin().sum(), args) if one.learns else ())]
    return ours, theirs


def taken(seed: int, kernel: str, length: int = 512) -> float:
    """The share of masks that a kernel takes."""
    return sum(table.why(kernel, mask, length) is None for mask in table.MASKS) / len(table.MASKS)


def fastest(seed: int, masks: Sequence[str] | None = None, length: int = 2048, ahead: float = 1.25) -> float:
    """How many kernels are the fastest under some mask, of those masks where the next takes `ahead` times as long."""
    winners = set()
    for mask in masks or table.MASKS:
        names = [n for n in table.KERNELS if n not in ("naive", "flex") and table.why(n, mask, length) is None]
        (best, least), (_, next_) = sorted(table.seconds(names, mask, length, seed=seed).items(), key=lambda x: x[1])[
            :2
        ]
        if next_ >= ahead * least:
            winners.add(best)
    return float(len(winners))


def turned(
    seed: int, one: str, other: str, masks: tuple[str, str], cost: Literal["seconds", "peak"] = "seconds", length: int = 2048
) -> float:  # fmt: skip
    """By what factor the order of two kernels turns: the first is so much cheaper under the first mask, and the second under
    the second. At most 1 where one of them is cheaper under both."""

    def ratio(mask: str) -> float:
        if cost == "peak":
            return table.peak(other, mask, length) / table.peak(one, mask, length)
        found = table.seconds((one, other), mask, length, seed=seed)
        return found[other] / found[one]

    return min(ratio(masks[0]), 1 / ratio(masks[1]))


# ---- several processes


def spread(seed: int, way: Way, count: int = 4, passed: bool = True) -> Sides:
    """Answers and gradients of attention over `count` gloo processes, under every mask, and of the plain formula.

    `passed: false` is what the processes would give of their own tokens alone, which must not be equal.
    """
    found = _found(seed, count, 4, 4)
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    for mask, score in SPREAD.items():
        args = q, k, v = tuple(x.requires_grad_() for x in _inputs(seed, 4, 4))
        at = Layout.dense(ROWS, LENGTH)
        out = reference(q, k, v, score, at, at, SCALE)
        theirs += [out, *torch.autograd.grad(out.sin().sum(), args)]
        if passed:
            ours += [found[f"{way}/{mask}/{part}"] for part in "oqkv"]
        else:
            alone = []
            for own in torch.arange(LENGTH).chunk(count):
                there = at.pick(own)
                alone.append(reference(q[:, :, own], k[:, :, own], v[:, :, own], score, there, there, SCALE))
            out = torch.cat(alone, 2)
            ours += [out, *torch.autograd.grad(out.sin().sum(), args)]
    return ours, theirs


def sent(
    seed: int, way: Way, count: int = 4, heads: int = 8, kv_heads: int = 4, home: bool = True
) -> tuple[Tensor, Tensor]:
    """Bytes that a process has sent, forward and backward, as counted on what was sent, and as the theory says.

    A ring sends keys and values r - 1 times, and r times their gradients, which end where they began; `home: false`
    leaves out that last way or, in a row, that of the answers: it must not be equal.
    """
    counted = _found(seed, count, heads, kv_heads)[f"{way}/causal/sent"].double()
    u = {"ring": 1, "zigzag": 1, "ulysses": count, "usp": 2}[way]
    r, number = count // u, 8 * WIDTH * ROWS * LENGTH // count  # bytes of one head's tokens
    pair, row = 2 * kv_heads * number, (2 * heads * home + 2 * kv_heads + heads * (not home)) * number * (u - 1) / u
    around = (r - 1 + (r if home else r - 1)) * pair if r > 1 else 0
    return counted, torch.tensor([(r - 1) * pair + row, around + row], dtype=torch.float64)


def heavier(seed: int, one: Way, other: Way, count: int = 4, heads: int = 8, kv_heads: int = 4) -> float:
    """Bytes sent forward in one way over those in another, as counted."""
    found = _found(seed, count, heads, kv_heads)
    return float(found[f"{one}/causal/sent"][0] / found[f"{other}/causal/sent"][0])


def uneven(seed: int, order: Order, mask: str, ring: int = 4, length: int = 8192) -> float:
    """Tiles that the process with the most of them computes, over what each would in equal shares."""
    at = Layout.dense(1, length)
    own = [at.pick(places(length, ring, order, i)) for i in range(ring)]
    score: Any = SPREAD[mask]
    work = []
    for q in own:
        rows = [row for k in own for row in attend_blocks.tiles(score, q, k, attend_blocks.SIZE)]
        work.append(sum(map(len, rows)))
    return max(work) * ring / sum(work)


def _found(seed: int, count: int, heads: int, kv_heads: int) -> dict[str, Tensor]:
    one = heads, kv_heads
    found = _launched(seed, count, TOGETHER if one in TOGETHER else (one,))
    start = f"{heads}/{kv_heads}/"
    return {name.removeprefix(start): x for name, x in found.items() if name.startswith(start)}


@lru_cache(maxsize=16)
def _launched(seed: int, count: int, sizes: tuple[tuple[int, int], ...]) -> dict[str, Tensor]:
    return launch(_works, count, seed, sizes)


def _works(seed: int, sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
    """What every process does, for all numbers of heads: it takes longer to start than to work."""
    return {f"{h}/{kv}/{name}": x for h, kv in sizes for name, x in _work(seed, h, kv).items()}


def _work(seed: int, heads: int, kv_heads: int) -> dict[str, Tensor]:
    """All ways under all masks: answers, gradients, bytes forward and backward."""
    count, found = dist.get_world_size(), {}
    orders: dict[Way, tuple[int, Order]] = {
        "ring": (1, "contiguous"), "zigzag": (1, "zigzag"), "ulysses": (count, "zigzag"), "usp": (2, "zigzag")
    }  # fmt: skip
    for way, (rows, order) in orders.items():
        grid = Grid(rows)
        for mask, score in SPREAD.items():
            over = Spread(grid, Layout.dense(ROWS, LENGTH), order)
            args = q, k, v = tuple(over.share(x, 2).requires_grad_() for x in _inputs(seed, heads, kv_heads))
            grid.sent = 0
            out = attend(q, k, v, score, over, SCALE)
            forward, grid.sent = grid.sent, 0
            grads = torch.autograd.grad(out.sin().sum(), args)
            found[f"{way}/{mask}/sent"] = torch.tensor([forward, grid.sent])
            found |= {f"{way}/{mask}/{p}": over.whole(x, 2) for p, x in zip("oqkv", (out, *grads), strict=True)}
    return found


def _inputs(seed: int, heads: int, kv_heads: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    sizes = (heads, kv_heads, kv_heads)
    return [torch.randn(ROWS, h, LENGTH, WIDTH, generator=rng, dtype=torch.float64) for h in sizes]
