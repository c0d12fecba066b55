"""Coloured points, each seen once by a camera of its own; others look at the same points and ask for the colour.

A token has a point in the frame of its camera, the colour or the question, and the camera's pose. Points lie on a
sphere around which cameras turn at random and move by about `apart`. To answer, two frames must be brought together.
After Miyato et al. 2023, GTA, with points in place of pictures.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ._base import SKIP, Batch, Options, Task, draw


class Views(Task):
    class Config(Options):
        points: int = Field(6, gt=1)
        colours: int = Field(8, gt=1)
        apart: float = Field(0.3, ge=0, description="how far cameras move, in radii of the sphere")

    tests = 512

    def ends(self):
        c = self.config
        head = {"use": "tag", "classes": c.colours}
        return {"causal": False, "embed": {"use": "posed", "channels": 3 + c.colours + 1 + 12}, "head": head}

    def batch(self, rng, size):
        c = self.config
        points = F.normalize(torch.randn(size, c.points, 3, generator=rng), dim=-1)
        colour = draw(rng, 0, c.colours, size, c.points)
        order = torch.rand(size, c.points, generator=rng).argsort(-1)
        asked = points.gather(1, order[..., None].expand_as(points))
        pose = torch.cat(
            [turns(rng, size, 2 * c.points), c.apart * torch.randn(size, 2 * c.points, 3, 1, generator=rng)], -1
        )
        world = F.pad(torch.cat([points, asked], 1), (0, 1), value=1.0)[..., None]
        known = F.pad(F.one_hot(colour, c.colours).float(), (0, 1))
        question = torch.zeros_like(known)
        question[..., -1] = 1
        x = torch.cat([(pose @ world)[..., 0], torch.cat([known, question], 1), pose.flatten(-2)], -1)
        return Batch(x, y=torch.cat([torch.full_like(colour, SKIP), colour.gather(1, order)], 1))


def turns(rng: torch.Generator, *shape: int) -> Tensor:
    """Rotations (..., 3, 3), all alike likely."""
    q, r = torch.linalg.qr(torch.randn(*shape, 3, 3, generator=rng))
    q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[..., None, :]
    return q * torch.linalg.det(q)[..., None, None]
