"""The Legendre memory unit without a recurrence in its hidden state, so that it runs in parallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import Mixer, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.legendre import held, legendre
from ..ops.linear_system import linear_system


class Lmu(Mixer):
    """o(act(w_h [m_t, x_t])), m_t = A m_{t-1} + B u_t, u = act(w_u x): what `inputs` signals were, at any time.

    A and B are fixed: m_t holds the last `window` tokens of a signal as `order` Legendre polynomials. Chilkuri &
    Eliasmith 2021, equations 18 to 20, with the map after it of Liu et al. 2024, LMUFormer; in the unit of Voelker et
    al. 2019 w_u and w_h read h_{t-1} too, which allows no parallel form.
    """

    paper = "Chilkuri & Eliasmith 2021, Parallelizing Legendre memory unit training"
    causal = True
    growth = "n log n"
    examples = (
        {"order": 6, "window": 12},
        {"order": 4, "window": 7.5, "inputs": 3, "hidden": 10, "activation": "silu", "bias": False},
    )
    a: Tensor  # (order, order)
    b: Tensor  # (order,)

    class Config(Base):
        order: int = Field(64, gt=0, description="polynomials that a signal is remembered in")
        window: float = Field(128, gt=0, description="tokens that are remembered")
        inputs: int = Field(1, gt=0, description="signals")
        hidden: int | None = Field(None, gt=0, description="default: width")
        activation: Activation = "relu"
        bias: bool = True

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.config, self.act = c, ACTIVATIONS[c.activation]
        hidden = c.hidden or width
        self.write = linear(width, c.inputs, c.bias)
        self.read = linear(c.inputs * c.order + width, hidden, c.bias)
        self.output = linear(hidden, width, c.bias)
        for name in ("a", "b"):
            self.register_buffer(name, None, persistent=False)
        self._fix()

    def _fix(self) -> None:
        like = self.write.weight
        wide = torch.promote_types(like.dtype, torch.float32)
        self.a, self.b = (z.to(like.device, wide) for z in held(*legendre(self.config.order, self.config.window)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Moves and casts as of any module; A and B are made again, as a cast there and back would leave them rounded."""
        super()._apply(fn, recurse)
        self._fix()
        return self

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        return self._answer(at.clean(x), at, None)[0]

    def start(self, batch: int, like: Tensor) -> Tensor:
        c, wide = self.config, torch.promote_types(like.dtype, torch.float32)
        return like.new_zeros(batch, c.inputs, c.order, dtype=wide)

    def chunk(self, x, at, state, shared=None):
        y, last = self._answer(at.clean(x), at, state)
        return y, last.to(state.dtype)

    def _answer(self, x: Tensor, at: Layout, state: Tensor | None) -> tuple[Tensor, Tensor]:
        m, last = linear_system(self.act(self.write(x)), self.a, self.b, at, state)
        return self.output(self.act(self.read(torch.cat([m.flatten(2), x], -1)))), last
