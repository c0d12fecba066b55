"""out_t = x_1 * x_2 * ... * x_t for an associative operator *, along dim 1 of any tree of tensors.

Blelloch 1990, Prefix sums and their applications. An operator takes two trees, the earlier one first,
and joins them elementwise along dim 1. Both forms are made of plain tensor operations, so they may be
differentiated any number of times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Tree = Any  # nested tuples, lists, dicts of Tensor (B, T, ...)
Combine = Callable[[Tree, Tree], Tree]


def scan(op: Combine, xs: Tree, reset: Tensor | None = None, form: Literal["tree", "loop"] = "tree") -> Tree:
    """Inclusive scan. xs: tree of (B, T, ...). reset (B, T) bool: True forgets all that came before.

    "loop" is the definition, one step a token. "tree" halves the length again and again: O(T) work and
    memory, 2 log2 T steps. Nothing passes a reset, neither values nor gradients, however large they are.
    """
    if reset is not None:
        op, xs = _segmented(op), (reset, xs)
    out = _loop(op, xs) if form == "loop" else _tree(op, xs)
    return out if reset is None else out[1]


def loop(advance: Callable[[Tree, Tree], Tree], start: Tree, xs: Tree) -> tuple[Tree, Tree]:
    """h_t = advance(h_{t-1}, x_t) as one operation of an exported graph: (last h, all h along dim 1).

    start: tree of (B, ...), xs: tree of (B, T, ...). For programs that serve any T; elsewhere a kernel is faster.
    """
    from torch._higher_order_ops.scan import scan as run

    def body(h: Tree, now: Tree) -> tuple[Tree, Tree]:
        h = advance(h, now)
        return h, tree_map(torch.clone, h)  # an output of the graph may not stand in two places

    last, path = run(body, start, tree_map(lambda x: x.transpose(0, 1), xs))
    return last, tree_map(lambda h: h.transpose(0, 1), path)


def affine(a: Tree, b: Tree) -> Tree:
    """h -> A h + B, elementwise, as the pair (A, B); real or complex.

    Of a scan over (A_t, B_t), the second part is h_t = A_t h_{t-1} + B_t from h_0 = 0, and
    h_t = first * h_0 + second from any h_0.
    """
    return b[0] * a[0], b[0] * a[1] + b[1]


def matrix(a: Tree, b: Tree) -> Tree:
    """h -> A h + B as the pair of A (..., K, K) and B (..., K, V); real or complex."""
    return b[0] @ a[0], b[0] @ a[1] + b[1]


def log_affine(a: Tree, b: Tree) -> Tree:
    """h -> A h + B for A > 0 and B >= 0, as the pair (log A, log B): sums over any range without overflow.

    Signs are not carried. log B may be -inf (B = 0), and then gets no gradient; log A must be finite.
    """
    return b[0] + a[0], _log_add(b[0] + a[1], b[1])


def _log_add(x: Tensor, y: Tensor) -> Tensor:
    """log(exp x + exp y); where both are -inf the result is -inf with gradient 0, which torch leaves at NaN."""
    none = (x == -torch.inf) & (y == -torch.inf)
    return torch.logaddexp(x.masked_fill(none, 0), y.masked_fill(none, 0)).masked_fill(none, -torch.inf)


def _segmented(op: Combine) -> Combine:
    """The operator on (reset, x) that keeps only the later x where it is a reset.

    The earlier x is replaced before `op` sees it: overflow there would come back as 0 * inf in the gradient.
    """

    def joined(a: Tree, b: Tree) -> Tree:
        (reset_a, xa), (reset_b, xb) = a, b
        past = tree_map(lambda x: torch.where(_like(reset_b, x), torch.zeros_like(x), x), xa)
        both = tree_map(lambda x, y: torch.where(_like(reset_b, y), y, x), op(past, xb), xb)
        return reset_a | reset_b, both

    return joined


def _like(flag: Tensor, x: Tensor) -> Tensor:
    return flag.view(*flag.shape, *[1] * (x.dim() - 2))


def _loop(op: Combine, xs: Tree) -> Tree:
    n = tree_leaves(xs)[0].shape[1]
    out = [_part(xs, slice(0, 1))]
    for t in range(1, n):
        out.append(op(out[-1], _part(xs, slice(t, t + 1))))
    return tree_map(lambda *s: torch.cat(s, 1), *out)


def _tree(op: Combine, xs: Tree) -> Tree:
    """Neighbours joined in pairs, the pairs scanned: those are the odd places; one more join gives the even ones."""
    n = tree_leaves(xs)[0].shape[1]
    if n < 2:
        return xs
    odd = _tree(op, op(_part(xs, slice(0, n - n % 2, 2)), _part(xs, slice(1, n, 2))))
    first = _part(xs, slice(0, 1))
    if n == 2:
        return tree_map(lambda e, o: torch.cat([e, o], 1), first, odd)
    later = op(_part(odd, slice(0, (n - 1) // 2)), _part(xs, slice(2, n, 2)))
    return tree_map(_weave, tree_map(lambda a, b: torch.cat([a, b], 1), first, later), odd)


def _weave(even: Tensor, odd: Tensor) -> Tensor:
    """Places 0, 2, 4 ... from `even`, 1, 3, 5 ... from `odd`."""
    k = odd.shape[1]
    pairs = torch.stack([even[:, :k], odd], 2).flatten(1, 2)
    return pairs if even.shape[1] == k else torch.cat([pairs, even[:, k:]], 1)


def _part(xs: Tree, where: slice) -> Tree:
    return tree_map(lambda x: x[:, where], xs)
