"""Exact gradients with one piece of the sequence in memory at a time.

Of a layer only the input is kept. Its backward pass reads the input again in pieces, keeping the state between them, and
then goes through the pieces from last to first: each is run once more, with a graph, and handed the gradient of its
answer and of the state it left. Every mixer that streams can be trained so, as a chunk is the whole by law. The head and
the loss see one piece at a time as well, so that no logits of a whole sequence exist. Luo et al. 2025, StreamBP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..core.errors import InputError
from ..core.families import Objective
from ..core.layout import Layout
from ..core.shared import Shared
from ..core.state import State
from ..model.model import Model
from ..model.trunk import Layer
from .recompute import counting_norm, replaced

Cut = tuple[int, int]


def losses(
    model: Model, objective: Objective, x: Tensor, lengths: Sequence[int] | Tensor | None, target: Tensor, size: int
) -> dict[str, Tensor]:
    """{"loss", "count"} as `objective.loss(model(x, lengths), target)` has them, with a graph in pieces of `size`."""
    head, why = model.head, why_not(model)
    if why is not None:
        raise InputError(f"no gradients in pieces: {why}")
    assert head is not None
    with streamed(model, size):
        h, at = model.hidden(x, lengths)
    if target.shape[:2] != h.shape[:2]:
        raise InputError("no gradients in pieces: the objective does not ask for an answer per token")
    table: Any = model.embed.table if head.ties else None
    tied = None if table is None else table.weight
    learned = [p for p in (*head.parameters(), tied) if p is not None and p.requires_grad]
    loss, count = _Loss.apply((head, tied, objective, at, target, size), h, *learned)
    return {"loss": loss, "count": count}


def why_not(model: Model) -> str | None:
    """The reason this model cannot be trained in pieces, or None."""
    if model.encoder is not None:
        return "the model has an encoder"
    if model.head is None or model.head.pools or model.head.in_units:
        return "the head does not answer token by token"
    if model.trunk.lenders:
        return "layers lend each other keys and values"
    if model.training and any(getattr(m, "dropout", 0.0) for m in model.modules()):
        return "dropout would drop other units in every pass"
    channels = [layer.channel for layer in model.trunk.each() if layer.channel is not None]
    if model.training and (drawn := [channel.use() for channel in channels if channel.draws]):
        return f"channel {drawn[0]} would draw other experts in every pass"
    if model.training and (norm := counting_norm(model)):
        return f"in training norm {norm} looks at the whole batch"
    coupled = [channel.use() for channel in channels if channel.couples]
    return f"tokens of channel {coupled[0]} depend on each other" if coupled else model.why_no_stream()


@contextmanager
def streamed(model: Model, size: int) -> Iterator[None]:
    """Layers keep their input alone while this is open, and their gradients are made in pieces of `size` tokens."""
    if size < 1:
        raise InputError(f"a piece has at least 1 token, not {size}")
    with ExitStack() as stack:
        for layer in set(model.trunk.each()):
            stack.enter_context(replaced(layer, _in_pieces(layer, size)))
        yield


def _in_pieces(layer: Layer, size: int) -> Callable[[Tensor, Layout, Shared], Tensor]:
    learned = [p for p in layer.parameters() if p.requires_grad]

    def forward(x: Tensor, at: Layout, shared: Shared) -> Tensor:
        if at.sequences != at.batch:
            raise InputError("no gradients in pieces: a row holds several sequences")
        return _Layer.apply((layer, at, size), x, *learned)

    return forward


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, how: tuple[Layer, Layout, int], x: Tensor, *learned: Tensor) -> Tensor:
        layer, at, size = ctx.how = how
        ctx.save_for_backward(x)
        ctx.learned, ctx.cast = learned, _casting(x)
        state, out, shared = layer.start(x.shape[0], x), torch.empty_like(x), Shared()
        for a, b in _cuts(x.shape[1], size):
            out[:, a:b], state = layer.chunk(x[:, a:b], at.span(a, b), state, shared)
        if shared.losses:
            raise InputError(f"no gradients in pieces: a layer charges the loss {next(iter(shared.losses))!r}")
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        (x,), (layer, at, size) = ctx.saved_tensors, ctx.how
        cuts, dx, dl = _cuts(x.shape[1], size), torch.empty_like(x), [torch.zeros_like(p) for p in ctx.learned]
        after: list[Tensor | None] = []
        with torch.autocast(x.device.type, **ctx.cast):
            states = _states(layer, x, at, cuts)
            for a, b in reversed(cuts):
                leaves, form = tree_flatten(states.pop())
                leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in leaves]
                piece = x[:, a:b].detach().requires_grad_()
                with torch.enable_grad():
                    y, left = layer.chunk(piece, at.span(a, b), tree_unflatten(leaves, form), Shared())
                outs, grads = [y], [grad[:, a:b].to(y.dtype)]
                for t, g in zip(tree_flatten(left)[0], after):
                    if g is not None and t.requires_grad:
                        outs.append(t)
                        grads.append(g)
                floats = [t for t in leaves if t.requires_grad]
                found = torch.autograd.grad(outs, [piece, *floats, *ctx.learned], grads, allow_unused=True)
                dx[:, a:b] = 0 if found[0] is None else found[0]
                own = iter(found[1 : 1 + len(floats)])
                after = [next(own) if t.requires_grad else None for t in leaves]
                for total, new in zip(dl, found[1 + len(floats) :]):
                    if new is not None:
                        total += new
        return None, dx, *dl


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, how: Any, h: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:
        head, tied, objective, at, target, size = how
        dh, dl = torch.zeros_like(h), [torch.zeros_like(p) for p in learned]
        total, count = h.new_zeros(()), torch.zeros((), dtype=torch.int64, device=h.device)
        for a, b in _cuts(h.shape[1], size):
            with torch.enable_grad():
                piece = h[:, a:b].detach().requires_grad_()
                found = objective.loss(head(piece, at.span(a, b), tied), target[:, a:b])
                value = found["loss"] * found["count"]
            total, count = total + value.detach(), count + found["count"]
            dh[:, a:b], *rest = torch.autograd.grad(value, [piece, *learned])
            for into, new in zip(dl, rest):
                into += new
            del found, value
        ctx.count = count.clamp(min=1)
        ctx.save_for_backward(dh, *dl)
        ctx.mark_non_differentiable(count)
        return total / ctx.count, count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        share = grad / ctx.count
        return None, *(d.mul_(share.to(d.dtype)) for d in ctx.saved_tensors)


def _states(layer: Layer, x: Tensor, at: Layout, cuts: Sequence[Cut]) -> list[State]:
    """The state before each piece. What a layer answers is not needed for it.

    Tensors that only grow, such as keys and values, are views of the last of them, so that they are held once.
    """
    last = layer.start(x.shape[0], x)
    columns = [[leaf] for leaf in tree_flatten(last)[0]]  # one leaf's values over time
    for a, b in cuts[:-1]:
        last = _advance(layer, x[:, a:b], at.span(a, b), last)
        for column, new in zip(columns, tree_flatten(last)[0]):
            column[:] = [*_based_on(new, column), new]
    form = tree_flatten(last)[1]
    return [tree_unflatten(list(leaves), form) for leaves in zip(*columns)] if columns else [last] * len(cuts)


def _based_on(new: Tensor, column: list[Tensor]) -> list[Tensor]:
    """The values so far as views of the new one, where it begins with the last of them."""
    old = column[-1]
    grown = [d for d in range(new.dim()) if old.shape[d] < new.shape[d]]
    if len(grown) != 1 or not torch.equal(new.narrow(grown[0], 0, old.shape[grown[0]]), old):
        return column
    begins = [t is old or _beginning(t, old) for t in column]
    return [new.narrow(grown[0], 0, t.shape[grown[0]]) if b else t for t, b in zip(column, begins)]


def _beginning(t: Tensor, x: Tensor) -> bool:
    """Whether t lies where x begins; tensors that lost their beginning share x's memory and start elsewhere."""
    same = t.untyped_storage()._cdata == x.untyped_storage()._cdata
    return same and t.storage_offset() == x.storage_offset() and t.stride() == x.stride()


def _advance(layer: Layer, x: Tensor, at: Layout, state: dict[str, State]) -> dict[str, State]:
    mixers = [name for name in layer.branches if name != "channel"]
    if len(mixers) > 1 or layer.running():  # the second, or a norm, reads what the first answers
        return layer.chunk(x, at, state, Shared())[1]
    after: dict[str, State] = {}

    def mix(h: Tensor) -> Tensor:
        after[mixers[0]] = getattr(layer, mixers[0]).advance(h, at, state[mixers[0]], Shared())
        return h

    layer.residual(x, at, [mix if name in mixers else torch.zeros_like for name in layer.branches])
    return after


def _cuts(length: int, size: int) -> list[Cut]:
    return [(a, min(a + size, length)) for a in range(0, length, size)]


def _casting(x: Tensor) -> dict[str, Any]:
    """The autocast that is on, to be put on again in the backward pass."""
    kind = x.device.type
    return {"enabled": torch.is_autocast_enabled(kind), "dtype": torch.get_autocast_dtype(kind)}
