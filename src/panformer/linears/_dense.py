"""What stand-ins for a linear map with a full matrix share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..core.families import Linear, stamp
from ..ops.activations import Activation

FUSED: Mapping[Activation, tuple[str, str]] = {  # what oneDNN calls them
    "identity": ("none", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
    "silu": ("swish", ""),
}
ONEDNN = torch.backends.mkldnn.is_available()


class Known(NamedTuple):
    """How inputs (N, K) become codes: round(x * inverse + shift), where `zero` stands for 0."""

    inverse: Tensor  # (K,)
    shift: Tensor  # (K,)
    zero: int


class Joint(NamedTuple):
    """The matrices of maps that read the same input, one below the other, as the machine wants them."""

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None
    sizes: list[int]  # outputs of each map
    inputs: Known | None = None  # where it does not depend on them

    def apart(self, out: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        """The answers (N, sum of sizes) to x (..., inputs), map by map, in the type of x."""
        out = (out if out.dtype == x.dtype else out.to(x.dtype)).view(*x.shape[:-1], -1)
        return out.split(self.sizes, -1) if len(self.sizes) > 1 else (out,)


class Derived(Linear):
    """A map that keeps a copy of its weight in the order the machine wants, made anew whenever the weight changes.

    Maps that are called together are kept as one, with the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._made: tuple[Any, Joint] | None = None

    def sources(self) -> tuple[Tensor | None, ...]:
        """What `joint` is made of, so far as it may change by itself."""
        raise NotImplementedError

    @classmethod
    def arrange(cls, maps: Sequence[Any]) -> Joint:
        """The copy, of maps of this class."""
        raise NotImplementedError

    def joint(self, maps: Sequence[Derived]) -> Joint:
        """`arrange(maps)`, this map the first of them, remembered until one is another or has been written to."""
        key = [stamp(t) for m in maps for t in m.sources() if t is not None]
        if self._made is None or self._made[0] != key:
            with torch.no_grad():
                self._made = (key, self.arrange(maps))
        return self._made[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}


class Codes(Derived):
    """A map in whole numbers: moves with the model, but its scales stay in fp32 whatever the model computes in."""

    scale: Tensor
    exact: ClassVar[tuple[str, ...]] = ("scale",)  # buffers that stay in fp32

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        kept = {name: getattr(self, name) for name in self.exact}
        super()._apply(fn, recurse)
        for name, value in kept.items():
            setattr(self, name, value.to(next(self.buffers()).device))
        return self


def stacked(biases: Sequence[Tensor | None], sizes: Sequence[int], like: Tensor) -> Tensor | None:
    """The offsets of several maps one after the other, 0 where one has none, in the type of `like`."""
    if all(b is None for b in biases):
        return None
    return torch.cat([like.new_zeros(n) if b is None else b.to(like) for b, n in zip(biases, sizes, strict=True)])


def on_cpu(x: Tensor, *weights: Tensor) -> bool:
    """Whether oneDNN's inference paths may serve a call: a CPU, nothing to differentiate, nothing being traced."""
    if x.device.type != "cpu" or not ONEDNN or torch.compiler.is_compiling():
        return False
    if torch._C._len_torch_dispatch_stack():  # whoever watches the operations could not look into such weights
        return False
    return not (torch.is_grad_enabled() and (x.requires_grad or any(w.requires_grad for w in weights)))


def rows_of(x: Tensor) -> Tensor:
    """(..., D) -> (N, D), contiguous."""
    return x.reshape(-1, x.shape[-1]).contiguous()


def room(outputs: int, bias: bool) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(outputs)) if bias else None
