"""Some heads see only their last few tokens, the others everything, without any positions."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Position
from ..core.part import Config as Base
from ..core.score import HeadWindow, Score


class HardAlibi(Position):
    """0 where |i - j| < m_h, else -inf: the first heads see m_h = 1, 2, 3 ... tokens, the rest see all.

    The tokens a head sees include the query's own. Jelassi et al. 2024.
    """

    paper = "Jelassi et al. 2024, Repeat after me: transformers are better than state space models at copying"
    kind = "bias"
    sizes: Tensor  # (H,) int64
    examples = ({}, {"windows": (3,)})

    class Config(Base):
        windows: tuple[int, ...] | None = None  # tokens seen by the first heads; null: 1, 2, ... for half of them

    def __init__(self, c: Config, heads: int, size: int) -> None:
        super().__init__()
        windows = tuple(range(1, heads // 2 + 1)) if c.windows is None else c.windows
        if len(windows) > heads or min(windows, default=1) < 1:
            raise InputError(f"hard_alibi: windows must be numbers >= 1, one for each of at most {heads} heads")
        sizes = [*windows, *[-1] * (heads - len(windows))]
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)

    def bias(self) -> Score:
        return HeadWindow(self.sizes)
