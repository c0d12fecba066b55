"""y_t = S_t' q_t of a memory S (E x V) that every token fades and writes to, token by token.

The slow obvious form of what `delta_rule` and `gated_linear` compute, which differ in how a token writes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.layout import Layout
from .scan import loop

Write = Callable[..., Tensor]  # (S (B, H, E, V), k (B, H, E), v (B, H, V), ...) -> S; must leave S alone where k is 0


def by_token(
    write: Write,
    q: Tensor,
    xs: tuple[Tensor, ...],
    fall: Tensor | None,
    at: Layout,
    s: Tensor | None,
    graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """S_t = write(exp(fall_t) S_{t-1}, k_t, v_t, ...) -> y (B, H, T, V), last S (B, H, E, V).

    q (B, H, T, E), xs = k (B, H, T, E), v (B, H, T, V) and what else `write` takes, fall (B, H, T, E|1) <= 0 or None.
    With s, the state so far, each row is the next tokens of one sequence; without it every sequence starts from
    nothing. Padding, anywhere, leaves the state as it is. `graph`: the loop is one operation, for any number of tokens.
    Numbers narrower than float32 are summed in float32; y comes back in the type of v.
    """
    (k, v), kind = xs[:2], xs[1].dtype
    wide, live = torch.promote_types(kind, torch.float32), at.valid[:, None, :, None]
    keep = torch.ones_like(q[..., :1]) if fall is None else torch.where(live, fall, 0).exp()
    if s is None:
        keep, s = keep.masked_fill(at.starts[:, None, :, None], 0), q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    xs = (keep, k.masked_fill(~live, 0), *xs[1:])
    q, *rest = (x.to(wide).transpose(1, 2) for x in (q.masked_fill(~live, 0), *xs))

    def advance(s: Tensor, now: tuple[Tensor, ...]) -> Tensor:
        return write(now[0][..., None] * s, *now[1:])

    s = s.to(wide)
    if graph:
        s, states = loop(advance, s, tuple(rest))
    else:
        path = []
        for now in zip(*(x.unbind(1) for x in rest), strict=True):
            s = advance(s, now)
            path.append(s)
        states = torch.stack(path, 1)
    return (q[..., None, :] @ states)[..., 0, :].transpose(1, 2).to(kind), s
