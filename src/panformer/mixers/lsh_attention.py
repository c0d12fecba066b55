"""Attention within the buckets of a hash: a token looks at the tokens whose directions are like its own."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..ops.hashing import cross_polytope, planes
from ._alike import Alike


class LshAttention(Alike):
    """o(softmax(q k' / sqrt(E)) v over the last `window` of the token's bucket), k = q / |q|. Kitaev et al. 2020, Reformer.

    A bucket is the nearest of random directions and their opposites, h(x) = argmax([x R, -x R]); of several `rounds` with
    an R each a token sees the union, every key once. Two-sided, `window` counts on both sides. A token sees itself only
    where it sees no other. R follows from `seed`, the same in every call. The paper cuts the sorted tokens into chunks,
    which lets what comes later say which earlier tokens are seen; a window along the bucket costs as much and does not.
    """

    paper = "Kitaev et al. 2020, Reformer: the efficient Transformer"
    examples = (
        {"heads": 2, "buckets": 4, "window": 3},
        {"heads": 2, "buckets": 2, "rounds": 2, "window": 4, "causal": True, "position": "rope"},
        {"heads": 4, "buckets": 4, "rounds": 3, "window": 2, "seed": 1, "bias": True},
        {"heads": 2, "buckets": 4, "window": None, "causal": True},
    )

    class Config(Alike.Options):
        buckets: int = Field(64, gt=1, description="even: of one round")
        rounds: int = Field(1, gt=0)
        window: int | None = Field(64, gt=0, description="members of a bucket, itself included; null: all")
        seed: int = Field(0, ge=0, description="of the directions")

    def __init__(self, c: Config, width: int) -> None:
        if c.buckets % 2:
            raise InputError(f"lsh_attention: buckets are directions and their opposites, so even; got {c.buckets}")
        super().__init__(c, width, c.window, c.buckets)
        self.rounds, self.seed = c.rounds, c.seed

    def group(self, x: Tensor) -> Tensor:
        directions = planes(self.heads, self.size, self.rounds * self.groups // 2, self.seed, x)
        return cross_polytope(x, directions, self.rounds)
