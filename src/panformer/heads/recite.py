"""Many classes from one vector: a sequence is told again from what the model kept of it."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..core.layout import Layout
from ..ops.rotary import sinusoid
from ..ops.segment import Pool, pool
from ._mapped import Mapped, Options


class Recite(Mapped):
    """out(norm(act(dense(pool(x) + p_t)))): logits (N, length, classes), p_t waves that tell the place t.

    All that is answered goes through one vector of the model's width. Poli et al. 2024, Mechanistic design and scaling
    of hybrid architectures (the decoder of its compression task, which has two dense layers).
    """

    paper = "Poli et al. 2024, Mechanistic design and scaling of hybrid architectures"
    pools: ClassVar[bool] = True
    examples = (
        {"classes": 3, "length": 4},
        {"classes": 2, "length": 3, "pool": "mean", "hidden": 6, "activation": "gelu", "norm": "layer"},
    )

    class Config(Options):
        classes: int = Field(gt=0)
        length: int = Field(gt=0, description="places that are answered")
        pool: Pool = "last"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, c.classes)
        self.pool, self.length = c.pool, c.length

    def forward(self, x: Tensor, at: Layout, tied: Tensor | None = None) -> Tensor:
        kept = pool(at.clean(x), at, self.pool)[:, None]  # (N, 1, D)
        places = Layout.dense(kept.shape[0], self.length, device=x.device)
        wave = sinusoid(torch.arange(self.length, device=x.device)[None, :, None], x.shape[-1], 10_000.0)
        return self.map(kept + wave.to(x.dtype), places)
