"""What each token takes from each other one, as a matrix: exact where a mixer is linear in its values, else by slopes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Mixer
from ..core.layout import Layout
from ..ops import backend
from ..ops.attend import spread
from ..ops.prefix_softmax import nothing

Map = Callable[[Tensor], Tensor]
BY_HEAD = (
    "attend", "weigh", "linear_attention", "gated_linear", "delta_rule", "two_sided", "toeplitz_linear",
    "group_attention",
)  # fmt: skip
BY_CHANNEL = {"selective_scan": 0, "wkv": 1}  # which argument the values (B, T, E) are


class View(NamedTuple):
    """One matrix for each head, or one for all: row i is what token i takes from each token."""

    heads: Tensor  # (H, T, T)
    says: str  # what the numbers are
    exact: bool  # whether they are the mixer's own weights of its values


def matrix(mix: Map, like: Tensor) -> Tensor:
    """M (B, H, T, T) of `mix`, a linear map of values (B, H, T, V) along T: column j is its answer to 1 at token j.

    `like` (B, H, T, V): any values; on them M must say what `mix` says. Errors: InputError where it does not.
    """
    batch, heads, length, _ = like.shape
    units = torch.eye(length, dtype=like.dtype, device=like.device).expand(batch, heads, -1, -1)
    m = mix(units.contiguous())
    want = mix(like)
    off = (m @ like - want).detach().abs().max() / want.detach().abs().max().clamp(min=1e-30)
    if not float(off) < 1e3 * torch.finfo(like.dtype).eps:
        raise InputError("matrix: this mixer is not linear in its values along the tokens")
    return m


def view(mixer: Mixer, x: Tensor, grid: tuple[int, ...] | None = None) -> View:
    """The matrix of a mixer for the tokens x (T, D), cells of a lattice in raster order where it needs one.

    Exact where the mixer shows its map of values (`Mixer.mixing`), or gives the values of its tokens to one operator
    that is linear in them; what comes before and after, as gates and norms, is not in it then. Else the size of
    dy_i / dx_j. Operators run as their references. Errors: InputError for a mixer that reads an encoder's memory.
    """
    if mixer.needs:
        raise InputError(f"matrix: {mixer.use()} needs {', '.join(mixer.needs)} from an encoder")

    def at(batch: int) -> Layout:
        return Layout.lattice(batch, grid) if grid else Layout.dense(batch, len(x))

    with backend.only("reference"):
        found = _shown(mixer, x[None], at(1))
        if found is not None:
            return found
        return View(slopes(lambda rows: mixer(rows, at(len(rows))), x)[None], "size of dy/dx", False)


def slopes(call: Map, x: Tensor) -> Tensor:
    """(T, T): the Frobenius norm of dy_i / dx_j for y = call(x) (B, T, D), whose rows are independent; x (T, D)."""
    found = []
    for t in range(len(x)):
        rows = x.detach().repeat(x.shape[1], 1, 1).requires_grad_()  # one for each number of y_t
        asked = call(rows)[:, t].diagonal().sum() + 0 * rows.sum()  # where nothing has a slope, as of spikes, it is 0
        found.append(torch.autograd.grad(asked, rows)[0].square().sum((0, 2)).sqrt())
    return torch.stack(found)


@torch.no_grad()
def _shown(mixer: Mixer, x: Tensor, at: Layout) -> View | None:
    """The exact matrix, where there is a way to it."""
    if type(mixer).mixing is not Mixer.mixing:
        return View(matrix(*mixer.mixing(x, at))[0], "weight of a value", True)
    if any(isinstance(m, Mixer) for m in mixer.modules() if m is not mixer):  # tokens may come to it in another order
        return None
    with backend.listen() as calls:
        mixer(x, at)
    found = _values(*calls[0], x, at) if len(calls) == 1 else None
    return None if found is None else View(matrix(*found)[0], f"weight of a value in {calls[0][0].name}", True)


def _values(operator: backend.Operator, args: tuple[Any, ...], x: Tensor, at: Layout) -> tuple[Map, Tensor] | None:
    """(the operator's map of values (1, H, T, V), those it was given), where it mixes just these tokens."""
    if any(isinstance(a, Layout) and a is not at for a in args):
        return None

    def run(index: int, value: Tensor) -> Tensor:
        return _first(operator.reference(*args[:index], value, *args[index + 1 :]))

    mix: Map
    if operator.name in BY_HEAD:  # q, k, v (B, H, T, ...)
        q, k, v = args[:3]
        heads = max(q.shape[1], v.shape[1])  # either may be shared
        args = (q, spread(k, heads), spread(v, heads), *args[3:])
        mix, values = partial(run, 2), args[2]
    elif operator.name == "prefix_softmax":  # v (B, T, H, V), and a state as wide as that

        def summed(v: Tensor) -> Tensor:
            start = nothing(1, v.shape[1], v.shape[-1], v)
            return _first(operator.reference(args[0], v.transpose(1, 2), *args[2:4], start)).transpose(1, 2)

        mix, values = summed, args[1].transpose(1, 2)
    elif operator.name in BY_CHANNEL:
        index = BY_CHANNEL[operator.name]
        mix, values = _by_channel(partial(run, index)), args[index].mT[..., None]
    else:
        return None
    return (mix, values) if values.shape[0] == 1 and values.shape[2] == x.shape[1] else None


def _first(out: Any) -> Tensor:
    """What an operator answers, without the state it leaves."""
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found


def _by_channel(run: Map) -> Map:
    """A map of (B, T, E) that takes each channel alone, as one of (B, E, T, V)."""
    return lambda v: torch.stack([run(column.mT).mT for column in v.unbind(-1)], -1)
