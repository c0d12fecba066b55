"""Attention whose keys and values are made from one small latent per token, which is all that decoding keeps."""

from __future__ import annotations

from torch import Tensor

from ..core.grow import grown
from ..core.layout import Layout
from ..core.shared import Shared
from ._latent import Latent
from ._past import joined, nothing, remembered


class LatentAttention(Latent):
    """o(softmax((q k' + p r') / sqrt(E + R)) v), k = A c, v = B c for each head, c = norm(down_kv x).

    c has `kv_rank` numbers. r = turn(turned_k x), `turned_width` = R numbers, are one for all heads and are all that a
    rotation acts on; p is the query's part that meets them, q the other `head_width` = E numbers. q and p come from x
    or, with `q_rank`, from norm(down_q x). The state is (c, r): kv_rank + R numbers a token, whatever the heads. While
    it streams no keys are made: q' A c = (A' q)' c, so queries meet the latents themselves, as in multi-query
    attention. DeepSeek-AI 2024, DeepSeek-V2.
    """

    paper = "DeepSeek-AI 2024, DeepSeek-V2: a strong, economical, and efficient mixture-of-experts language model"
    examples = (
        {"heads": 2},
        {"heads": 2, "kv_rank": 5, "turned_width": 6, "causal": True, "position": "rope", "q_rank": 7, "bias": True},
        {"heads": 3, "kv_rank": 6, "turned_width": 4, "head_width": 3, "value_width": 5, "causal": True, "scale": 0.3},
    )

    class Config(Latent.Options):
        causal: bool | None = None

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width, bool(c.causal))

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        x = at.clean(x)
        return self._whole(x, at, *self._latent(x, at))

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, ...]:
        return like.new_zeros(batch, 0, self.rank), like.new_zeros(batch, 0, self.turned), *nothing(batch, like)

    def chunk(self, x, at, state, shared=None):
        x = at.clean(x)
        latent, turned, *past = state
        new = self._latent(x, at)
        latent, turned = grown(latent, new[0], 1), grown(turned, new[1], 1)
        there = joined(tuple(past), at)
        return self._meet(x, at, latent, turned, there, self.mask), (latent, turned, *remembered(there))
