"""Kernels of softmax attention under masks: which takes which, how far from the plain formula, how long, how much room.

One form for all: a mask is a score and the layout that it is for, a kernel is called as `ops.attend` is, or says why not.
Zhang et al. 2025, LongCA-bench, whose kernels are those of GPUs; these run anywhere.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import unknown
from ..core.layout import Layout
from ..core.score import Causal, Prefix, Same, Score, Window
from ..core.sparse import First, Marks, Near, Sparse
from ..ops.attend import reference
from ..ops.kernels import attend_blocks, attend_groups, attend_rows, attend_sdpa, attend_window
from .cost import trace

HEADS, WIDTH, SCALE = 4, 32, 32**-0.5
Run = Callable[[Tensor, Tensor, Tensor, Score, Layout, Layout, float], Tensor]


class Case(NamedTuple):
    """What may see what, and where the tokens sit."""

    score: Score
    at: Layout


def _documents(n: int) -> Layout:
    cuts = [n // 2, n // 4, n // 8]
    return Layout.packed([*cuts, n - sum(cuts)])


def _global(*sights: Any) -> Sparse:
    return Sparse((sights,) * HEADS)


MASKS: Mapping[str, Callable[[int], Case]] = {
    "full": lambda n: Case(Same(), Layout.dense(1, n)),
    "causal": lambda n: Case(Same() & Causal(), Layout.dense(1, n)),
    "window": lambda n: Case(Same() & Window(n // 16), Layout.dense(1, n)),
    "causal window": lambda n: Case(Same() & Causal() & Window(n // 16), Layout.dense(1, n)),
    "prefix": lambda n: Case(Same() & (Causal() | Prefix(n // 4)), Layout.dense(1, n)),
    "documents": lambda n: Case(Same(), _documents(n)),
    "causal documents": lambda n: Case(Same() & Causal(), _documents(n)),
    "window and first": lambda n: Case(Same() + _global(Near(n // 16), First(4)), Layout.dense(1, n)),
    "causal window and marks": lambda n: Case(
        (Same() & Causal()) + _global(Near(n // 16), Marks(n // 16, 1)), Layout.dense(1, n)
    ),
}


@dataclass(frozen=True)
class Adapter:
    """A kernel behind the form of `ops.attend`: what it is, how it runs, why it would not."""

    about: str
    run: Run
    why: Callable[..., str | None] = lambda *call: None
    learns: bool = True  # whether it has gradients on a CPU


def _flex(q: Tensor, k: Tensor, v: Tensor, score: Score, q_at: Layout, k_at: Layout, scale: float) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    value = score.value(q_at, k_at).to(q.dtype)
    value = value.expand(q.shape[0], q.shape[1], *value.shape[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells that it is slow where it is not compiled
        out: Any = flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + value[b, h, i, j], scale=scale)
    return out


KERNELS: Mapping[str, Adapter] = {
    "naive": Adapter("the whole matrix of scores", reference),
    "sdpa": Adapter("torch's fused call, a dense mask where it must", attend_sdpa.run, attend_sdpa.refuses),
    "flex": Adapter("torch's flex_attention, not compiled", _flex, learns=False),
    "tiles": Adapter("online softmax over tiles, empty ones skipped", attend_blocks.run),
    "window": Adapter("a window in blocks", attend_window.run, attend_window.refuses),
    "groups": Adapter("documents of like length in one call", attend_groups.run, attend_groups.refuses),
    "gather": Adapter("keys gathered by a pattern", attend_rows.run, attend_rows.refuses),
}


def inputs(case: Case, seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values (1, HEADS, n, WIDTH) of normal numbers."""
    rng = torch.Generator().manual_seed(seed)
    shape = (case.at.batch, HEADS, case.at.length, WIDTH)
    return [torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for _ in range(3)]


def case(mask: str, length: int) -> Case:
    if mask not in MASKS:
        raise unknown("mask", mask, MASKS)
    return MASKS[mask](length)


def kernel(name: str) -> Adapter:
    if name not in KERNELS:
        raise unknown("kernel", name, KERNELS)
    return KERNELS[name]


def why(name: str, mask: str, length: int) -> str | None:
    """Why a kernel does not take a mask at this length; None where it does."""
    made = case(mask, length)
    return kernel(name).why(*inputs(made, 0, torch.float32), made.score, made.at, made.at, SCALE)


@torch.no_grad()
def seconds(names: Sequence[str], mask: str, length: int, rounds: int = 5, seed: int = 0) -> dict[str, float]:
    """Seconds of one float32 pass of every kernel, the median of rounds in which they take turns, after one to warm up."""
    made = case(mask, length)
    q, k, v = inputs(made, seed, torch.float32)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            start = time.perf_counter()
            kernel(name).run(q, k, v, made.score, made.at, made.at, SCALE)
            if turn:
                found[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in found.items()}


def peak(name: str, mask: str, length: int) -> int:
    """Most bytes alive at once in a float32 pass of a kernel, counted."""
    made, one = case(mask, length), kernel(name)
    return trace(
        lambda q, k, v: one.run(q, k, v, made.score, made.at, made.at, SCALE), *inputs(made, 0, torch.float32)
    ).peak


def error(name: str, mask: str, length: int) -> float:
    """The largest distance from the plain formula in float32."""
    made = case(mask, length)
    call = (*inputs(made, 0, torch.float32), made.score, made.at, made.at, SCALE)
    return float((kernel(name).run(*call) - reference(*call)).abs().max())


def table(lengths: Iterable[int], rounds: int = 5) -> list[dict[str, Any]]:
    """A row per length, mask and kernel: its error, seconds, bytes at the peak (None: not counted), or why it has none."""
    rows = []
    for length, mask in product(lengths, MASKS):
        no = {name: why(name, mask, length) for name in KERNELS}
        times = seconds([name for name in KERNELS if no[name] is None], mask, length, rounds)
        for name, one in KERNELS.items():
            row = {"length": length, "mask": mask, "kernel": name, "gradients": one.learns, "why": no[name]}
            if no[name] is None:
                row |= {"error": error(name, mask, length), "seconds": times[name]}
                row["peak"] = None if name == "flex" else peak(name, mask, length)
            rows.append(row)
    return rows
