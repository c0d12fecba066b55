"""Activations made again in the backward pass, for whole layers or for some tokens of the channels; the rest is kept.

Chen et al. 2016 for whole layers. The token is the finer unit: a channel works on each alone, so any share of its tokens
can be kept, in memory or swapped to files, and the others made again; memory falls and work grows along straight lines.
Zhao et al. 2024, Efficiently training 7B LLM with 1 million sequence length on 8 GPUs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.errors import InputError
from ..core.families import Channel, Norm
from ..core.layout import Layout
from ..core.shared import Shared
from ..model.model import Model

Forward = Callable[..., Tensor]


@contextmanager
def layers_again(model: Model) -> Iterator[None]:
    """Of every layer only the input is kept while this is open. A norm that keeps count of what it sees is refused."""
    if norm := counting_norm(model):
        raise InputError(f"norm {norm} would count every batch twice: its layers cannot be computed again")
    with ExitStack() as stack:
        for layer in set(model.trunk.each()):
            stack.enter_context(replaced(layer, _again(layer.forward)))
        yield


@contextmanager
def tokens_again(model: Model, kept: float = 0.0, swap: Path | None = None) -> Iterator[None]:
    """Channels keep the activations of the first `kept` share of every row's tokens; the others' are made again.

    With a folder to `swap` to, what is kept waits in files there instead of memory. A channel whose tokens depend on
    each other, or that charges a loss, is refused.
    """
    if not 0 <= kept <= 1:
        raise InputError(f"kept is a share of the tokens, 0 to 1, not {kept}")
    channels = {layer.channel for layer in model.trunk.each() if layer.channel is not None}
    with ExitStack() as stack:
        for channel in channels:
            if channel.couples is not None:
                raise InputError(f"channel {channel.use()}: its tokens depend on each other and cannot be taken apart")
            stack.enter_context(replaced(channel, _split(channel, kept, swap)))
        yield


def counting_norm(model: Model) -> str | None:
    """A norm whose tokens depend on each other in training, and which then keeps count of them."""
    return next((m.use() for m in model.modules() if isinstance(m, Norm) and m.counts), None)


def _again(forward: Forward) -> Forward:
    return lambda *args: checkpoint(forward, *args, use_reentrant=False)


def _split(channel: Channel, kept: float, swap: Path | None) -> Forward:
    whole = channel.forward

    def forward(x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        own = Shared()
        cut, parts = round(kept * x.shape[1]), []
        if cut:
            with nullcontext() if swap is None else swapped(channel, swap):
                parts.append(whole(x[:, :cut], at.span(0, cut), own))
        if cut < x.shape[1]:
            rest = at.span(cut, x.shape[1])
            parts.append(checkpoint(whole, x[:, cut:], rest, own, use_reentrant=False))
        if own.losses:
            raise InputError(f"channel {channel.use()} charges a loss over all tokens, which cannot be taken apart")
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    return forward


@contextmanager
def swapped(module: nn.Module, folder: Path) -> Iterator[None]:
    """What autograd keeps while this is open waits in files, which vanish once it is read; parameters stay in memory."""
    fixed = {p.untyped_storage()._cdata for p in module.parameters()}

    def pack(t: Tensor) -> Any:
        return t if t.untyped_storage()._cdata in fixed or not t.numel() else _File(t.detach(), folder)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.read() if isinstance(kept, _File) else kept):
        yield


class _File:
    """One tensor in a file of its own, mapped into memory when it is read."""

    def __init__(self, t: Tensor, folder: Path) -> None:
        handle, path = tempfile.mkstemp(dir=folder, suffix=".swap")
        os.close(handle)
        self.path, self.shape, self.dtype = path, t.shape, t.dtype
        self._map().copy_(t.flatten())

    def read(self) -> Tensor:
        return self._map().view(self.shape).clone()

    def _map(self) -> Tensor:
        return torch.from_file(self.path, shared=True, size=self.shape.numel(), dtype=self.dtype)

    def __del__(self) -> None:
        Path(self.path).unlink(missing_ok=True)


@contextmanager
def replaced(module: nn.Module, forward: Forward) -> Iterator[None]:
    """`module` answers with another forward while this is open."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
