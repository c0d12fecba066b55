"""Every token is a row of values that ends with the pose of its own frame."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..core.families import linear
from ..core.layout import Layout
from ._finish import Finished, Ordered, laid
from ._series import check_channels

POSE = 12  # numbers of a pose: three rows of four


class Posed(Finished):
    """A linear map of values (B, T, C) without the last 12, which are a pose (3, 4) and go into the layout.

    A pose takes homogeneous points of the world into the token's own frame: rotation, then what is added. Miyato et al.
    2023.
    """

    paper = "Miyato et al. 2023, GTA: a geometry-aware attention mechanism for multi-view transformers"
    reads = "values"
    examples = ({"channels": 15},)

    class Config(Ordered):
        channels: int = Field(gt=POSE, description="values of a token, those of its pose among them")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__(c, width)
        self.channels = c.channels
        self.map = linear(c.channels - POSE, width)

    def forward(self, raw: Tensor, at: Layout | None = None) -> tuple[Tensor, Layout]:
        check_channels("posed", raw, self.channels)
        at = laid(raw, at)
        raw = at.clean(raw)
        own = raw.new_zeros(1, 1, 1, 4)
        own[..., 3] = 1
        pose = torch.cat([raw[..., -POSE:].unflatten(-1, (3, 4)), own.expand(*raw.shape[:2], 1, 4)], -2)
        if not at.full:
            pose = torch.where(at.valid[..., None, None], pose, torch.eye(4, dtype=raw.dtype, device=raw.device))
        there = Layout(at.seg, at.pos, at.grid, at.full, at.padless, at.single, pose)
        return self.finish(self.map(raw[..., :-POSE]), there), there
