"""A distribution over the vocabulary at every token."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..core.errors import InputError
from ..core.families import Head, Linear, linear
from ..core.layout import Layout
from ..core.maps import stamp
from ..core.part import Config as Base
from ..core.part import Slot
from ..core.product import product
from ..ops.activations import ACTIVATIONS, Activation


class Lm(Head):
    """scale * h E' + bias, h = x or norm(act(dense(x))): logits (B, T, vocab).

    E is the embedding table of the model (`tie`) or a matrix of its own. `transform` is the dense layer before it,
    of `size` units where the table is narrower than the model. Press & Wolf 2016 (tying); Devlin et al. 2018
    (transform). With `cap` c the logits are c tanh(. / c) (Team Gemma 2024). Where nothing is to be differentiated the
    product is made in the number format of `form`; that copy of E follows E and is not saved.
    """

    paper = "Press & Wolf 2016, Using the output embedding to improve language models"
    ties = True
    examples = (
        {"vocab": 11, "tie": False},
        {"vocab": 11},
        {"vocab": 11, "transform": "layer", "bias": True},
        {"vocab": 11, "transform": "layer", "dense_bias": False},
        {"vocab": 11, "cap": 0.5},
        {"vocab": 11, "form": "int8", "bias": True},
    )

    class Config(Base):
        vocab: int = Field(gt=0)
        tie: bool = True
        transform: Annotated[Base | None, Slot("norms")] = None  # the norm after a dense layer; null: neither
        size: int | None = Field(None, gt=0, description="units of the dense layer; default: width")
        dense_bias: bool = True
        activation: Activation = "gelu"
        bias: bool = False
        scale: float = Field(1.0, gt=0)
        cap: float | None = Field(None, gt=0, description="bound of every logit")
        form: Annotated[Base | None, Slot("linears")] = Field(
            None, description="of E, for inference; default: as it is"
        )

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.size not in (None, width) and c.transform is None:
            raise InputError(f"lm: size {c.size} is not the width {width}; only a transform can change it")
        size = c.size or width
        self.ties, self.vocab, self.scale, self.act = c.tie, c.vocab, c.scale, ACTIVATIONS[c.activation]
        self.dense = linear(width, size, c.dense_bias) if c.transform is not None else None
        self.norm = c.transform.build(size) if c.transform is not None else None
        self.table = None if c.tie else nn.Parameter(torch.randn(c.vocab, size) * size**-0.5)
        self.bias = nn.Parameter(torch.zeros(c.vocab)) if c.bias else None
        self.size, self.cap, self.form = size, c.cap, c.form
        self._held: tuple[Any, Linear] | None = None

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        x, table = at.clean(x), self._table(tied)
        if self.dense is not None and self.norm is not None:
            x = self.norm(self.act(self.dense(x)), at)
        x = x if self.scale == 1 else self.scale * x
        if self.form is None or torch.is_grad_enabled():
            logits = product(x, table, self.bias)
        else:
            logits = self._formed(self.form, table)(x)
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def _table(self, tied: Tensor | None) -> Tensor:
        if self.table is not None:
            return self.table
        if tied is None:
            raise InputError("lm: this head shares the embedding table and was given none; set tie: false for its own")
        if tied.shape != (self.vocab, self.size):
            raise InputError(f"lm: the embedding table is {tuple(tied.shape)}, not {(self.vocab, self.size)}")
        return tied

    def _formed(self, form: Base, table: Tensor) -> Linear:
        """x E' + bias as `form` makes it, remembered until E or the bias changes."""
        key = [stamp(t) for t in (table, self.bias) if t is not None]
        if self._held is None or self._held[0] != key:
            with torch.inference_mode(False):
                with torch.device("meta"):  # nothing is drawn: all is taken from E
                    plain = nn.Linear(self.size, self.vocab, self.bias is not None)
                    made: Linear = form.part(form, self.size, self.vocab, self.bias is not None)
                plain.weight = nn.Parameter(table, requires_grad=False)
                if self.bias is not None:
                    plain.bias = self.bias
                made.take(plain)
                self._held = (key, made.to(table.device).eval())
        return self._held[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}
