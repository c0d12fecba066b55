"""Processes in a grid of rings and rows, and which tokens of a sequence each of them has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from ..core.errors import InputError
from ..core.layout import Layout

Order = Literal["contiguous", "zigzag"]
Wait = Callable[[], list[Tensor]]


class Grid:
    """The processes of a torch.distributed job: rows of `heads` that exchange heads, and rings through equal places of rows.

    heads = 1 is one ring of all (ring attention), heads = count one row (Ulysses), between them both at once (USP).
    Every process makes its grid at the same time. `sent` counts the bytes that this process has sent.
    """

    def __init__(self, heads: int = 1) -> None:
        if not dist.is_initialized():
            raise InputError("a grid needs a torch.distributed job: torchrun, or panformer.parallel.launch")
        self.rank, self.count, self.heads = dist.get_rank(), dist.get_world_size(), heads
        if heads < 1 or self.count % heads:
            raise InputError(f"{self.count} processes do not divide into rows of {heads}")
        self.ring = self.count // heads  # processes in a ring
        self.place = self.rank // heads  # this one's place in its ring
        self.sent = 0
        if heads > 1:
            rows = [dist.new_group(list(range(a, a + heads))) for a in range(0, self.count, heads)]
            self._row = rows[self.place]

    def pass_on(self, tensors: Sequence[Tensor], tag: int = 0) -> Wait:
        """Begin to send to the next process of the ring; the answer waits for what the one before has sent."""
        to, source = ((self.rank + step * self.heads) % self.count for step in (1, -1))
        out = [t.contiguous() for t in tensors]
        into = [torch.empty_like(t) for t in out]
        works = [dist.P2POp(dist.isend, t, to, tag=tag + i) for i, t in enumerate(out)]
        works += [dist.P2POp(dist.irecv, t, source, tag=tag + i) for i, t in enumerate(into)]
        pending = dist.batch_isend_irecv(works)
        self.sent += sum(t.numel() * t.element_size() for t in out)

        def wait() -> list[Tensor]:
            for one in pending:
                one.wait()
            out.clear()  # what is under way must live until here
            return into

        return wait

    def exchange(self, x: Tensor) -> Tensor:
        """(heads, ...) -> (heads, ...): piece i goes to process i of the row, piece j is what process j has sent."""
        into, x = torch.empty_like(x), x.contiguous()
        dist.all_to_all_single(into, x, group=self._row)
        self.sent += x.numel() * x.element_size() * (self.heads - 1) // self.heads  # one piece stays
        return into


@dataclass(frozen=True, eq=False)
class Spread:
    """One sequence over a grid: every process has as many tokens, in rising order.

    `at` says where all tokens sit. With `contiguous` a ring's places have pieces one after the other; with `zigzag` place
    i of r has pieces i and 2r - 1 - i of 2r, so that a causal mask leaves all of them as much work. Zhu 2024, ring flash
    attention; Brandon et al. 2023, Striped Attention.
    """

    grid: Grid
    at: Layout
    order: Order = "zigzag"

    def __post_init__(self) -> None:
        pieces = self.grid.count if self.order == "contiguous" or self.grid.ring == 1 else 2 * self.grid.count
        if self.at.length % pieces:
            raise InputError(f"{self.at.length} tokens do not divide into {pieces} pieces: pad them, which is exact")
        if self.at.pose is not None:
            raise InputError("tokens with a pose are not spread over processes")

    @property
    def here(self) -> Layout:
        """Where this process's tokens sit."""
        return self.at.derive(("spread", self.order, self.grid.ring, self.grid.rank), lambda: self.at.pick(self.own))

    @property
    def own(self) -> Tensor:
        """(T / count,) int64, this process's tokens."""
        return self._places(self.grid.rank)

    def along(self, place: int) -> Layout:
        """Where the tokens of all processes at a ring's place sit."""
        key = ("along", self.order, self.grid.ring, place)
        return self.at.derive(key, lambda: self.at.pick(places(self.at.length, self.grid.ring, self.order, place)))

    def share(self, x: Tensor, dim: int = 1) -> Tensor:
        """This process's part of what all of them have."""
        return x.index_select(dim, self.own.to(x.device))

    def whole(self, x: Tensor, dim: int = 1) -> Tensor:
        """The parts of all processes in the sequence's order, in each of them; without a gradient."""
        parts = [torch.empty_like(x.detach().contiguous()) for _ in range(self.grid.count)]
        dist.all_gather(parts, x.detach().contiguous())
        order = torch.cat([self._places(rank) for rank in range(self.grid.count)]).argsort()
        return torch.cat(parts, dim).index_select(dim, order.to(x.device))

    def _places(self, rank: int) -> Tensor:
        ring = places(self.at.length, self.grid.ring, self.order, rank // self.grid.heads)
        return ring.chunk(self.grid.heads)[rank % self.grid.heads]


def places(length: int, ring: int, order: Order, place: int) -> Tensor:
    """(length / ring,) int64: the tokens at one place of a ring, rising."""
    if order == "contiguous" or ring == 1:
        return torch.arange(length).chunk(ring)[place]
    pieces = torch.arange(length).chunk(2 * ring)
    return torch.cat([pieces[place], pieces[2 * ring - 1 - place]])


def launch(work: Callable[..., dict[str, Tensor]], count: int, *args: Any) -> dict[str, Tensor]:
    """What work(*args), a module's function, returns in the first of `count` new processes here, joined by gloo."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_join, (count, folder, work, args), nprocs=count)
        return load_file(Path(folder) / "found.safetensors")


def _join(rank: int, count: int, folder: str, work: Callable[..., dict[str, Tensor]], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    try:
        found = work(*args)
        if rank == 0:
            save_file({name: x.detach().contiguous() for name, x in found.items()}, Path(folder) / "found.safetensors")
    finally:
        dist.destroy_process_group()
