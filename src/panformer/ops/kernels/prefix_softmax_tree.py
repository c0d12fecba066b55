"""prefix_softmax as one associative scan: few operations whatever the length, but the sums of all tokens are held."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel
from ..online_softmax import OnlineSoftmax, finish, merge
from ..scan import scan


def refuses(score: Tensor, v: Tensor, live: Tensor | None, reset: Tensor | None, state: OnlineSoftmax) -> str | None:
    return "one token: the formula itself is fastest" if score.shape[1] == 1 else None


def run(
    score: Tensor,
    v: Tensor,
    live: Tensor | None,
    reset: Tensor | None,
    state: OnlineSoftmax,
    form: Literal["tree", "loop"] = "tree",
) -> tuple[Tensor, OnlineSoftmax]:
    line, flags = after(state, pieces(score, v, live), reset)
    line = scan(merge, line, flags, form)
    return finish(OnlineSoftmax(*(z[:, 1:] for z in line))).to(v.dtype), OnlineSoftmax(*(z[:, -1] for z in line))


def pieces(score: Tensor, v: Tensor, live: Tensor | None) -> OnlineSoftmax:
    """One piece per token. Its largest score is a constant, which cancels: the weight 1 carries the gradient."""
    wide = torch.promote_types(v.dtype, torch.float32)
    score, v = score.to(wide), v.to(wide)
    if live is not None:
        score = score.masked_fill(~live[..., None], 0)
    top = score.detach()
    weight = torch.exp(score - top)
    if live is not None:
        top = top.masked_fill(~live[..., None], -torch.inf)
        weight, v = weight.masked_fill(~live[..., None], 0), v.masked_fill(~live[..., None, None], 0)
    return OnlineSoftmax(top, weight, weight[..., None] * v)


def after(state: OnlineSoftmax, new: OnlineSoftmax, reset: Tensor | None) -> tuple[OnlineSoftmax, Tensor | None]:
    """(pieces of new tokens behind the piece that brings the state, resets with a place for it)."""
    line = OnlineSoftmax(*(torch.cat([s.to(n.dtype)[:, None], n], 1) for s, n in zip(state, new, strict=True)))
    return line, None if reset is None else F.pad(reset, (1, 0))


TREE = Kernel("tree", refuses, run)
