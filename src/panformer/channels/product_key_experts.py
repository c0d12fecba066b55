"""A mixture of very many experts of one neuron each, found by keys that are pairs."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InputError
from ..core.families import Channel, linear
from ..core.layout import Layout
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.activations import ACTIVATIONS, Activation
from ..ops.product_keys import product_top
from ._experts import counted, real


class ProductKeyExperts(Channel):
    """sum over heads h and their `top` experts e of softmax(s_h)_e act(u_e . x) v_e, the experts common to all heads.

    Expert e = (i, j) of side^2 scores s_he = <q_h, a_hi> + <q'_h, b_hj>, where (q_h, q'_h) is a map of x to twice `key`
    numbers: finding the best takes O(side), not O(side^2). Counted in `shared.stats`:
    "expert_load", how often each expert was chosen. He 2024, PEER.
    """

    paper = "He 2024, Mixture of a million experts"
    examples = ({"side": 4, "heads": 2, "top": 3, "key": 3}, {"side": 3, "heads": 1, "top": 9, "key": 2})

    class Config(Base):
        side: int = Field(64, gt=0, description="keys of each half; experts are its square")
        heads: int = Field(4, gt=0)
        top: int = Field(16, gt=0, description="experts of each head that answer")
        key: int = Field(32, gt=0, description="numbers of half a key")
        activation: Activation = "gelu"

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        if c.top > c.side**2:
            raise InputError(f"product_key_experts: top {c.top} is more than {c.side} x {c.side} experts")
        self.heads, self.top, self.experts, self.act = c.heads, c.top, c.side**2, ACTIVATIONS[c.activation]
        self.query = linear(width, c.heads * 2 * c.key, False)
        self.keys = nn.Parameter(torch.randn(c.heads, 2, c.side, c.key) * c.key**-0.5)
        self.up = nn.Parameter(torch.randn(self.experts, width) * width**-0.5)
        self.down = nn.Parameter(torch.randn(self.experts, width) * (c.top / c.heads) ** 0.5)

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        tokens = real(x, at)
        h = tokens.x
        with torch.autocast(h.device.type, enabled=False):  # which experts are best must not hang on rounding
            wide = torch.promote_types(h.dtype, torch.float32)
            q = self.query(h).to(wide).unflatten(-1, (self.heads, 2, -1))
            left, right = torch.einsum("mhsk,hsnk->smhn", q, self.keys.to(wide))
            score, expert = product_top(left, right, self.top)
        if shared is not None:
            counted(shared, "expert_load", torch.bincount(expert.flatten(), minlength=self.experts))
        weight, expert = score.softmax(-1).flatten(1), expert.flatten(1)
        hidden = self.act((F.embedding(expert, self.up) @ h[..., None])[..., 0])
        shares = (hidden * weight.to(h.dtype)).to(self.down.dtype)
        out = F.embedding_bag(expert, self.down, mode="sum", per_sample_weights=shares)
        return tokens.back(out.to(x.dtype), x)
