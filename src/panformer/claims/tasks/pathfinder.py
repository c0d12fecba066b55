"""Pathfinder: are two circles the ends of one dashed curve? A picture of `size` x `size` pixels read row by row; two classes.

Linsley et al. 2018; Tay et al. 2020 (LRA: 32 x 32, Path-X: 128 x 128). Two curves with a circle at an end of each, or one
of them with a circle at both ends, among shorter ones without. Drawn here by own code: curves bend smoothly and keep two cells away
from each other; three grey levels (ground, dash, circle). The original renders finer, with antialiased lines.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from ._base import Batch, Options, Task

GROUND, DASH, CIRCLE, LEVELS = 0, 1, 2, 3
TRIES = 200  # of a curve before the picture is begun anew
Cells = list[tuple[int, int]]


class Pathfinder(Task):
    class Config(Options):
        size: int = Field(16, ge=12, le=128)
        reach: float = Field(0.8, gt=0, le=2, description="length of the two curves, of the picture's side")
        distractors: int = Field(2, ge=0)
        bend: float = Field(0.35, ge=0, description="largest turn of a step, in radians")

    def ends(self):
        return {"embed": {"use": "tokens", "vocab": LEVELS}, "head": {"use": "classify", "classes": 2}}

    def batch(self, rng, size):
        made = [self._picture(rng) for _ in range(size)]
        return Batch(torch.stack([x.flatten() for x, _ in made]), y=torch.tensor([y for _, y in made]))

    def _picture(self, rng: torch.Generator) -> tuple[torch.Tensor, int]:
        """(size, size) levels, and whether the circles are the ends of one curve."""
        c = self.config
        steps = max(4, round(c.reach * c.size))
        while True:
            taken: set[tuple[int, int]] = set()
            curves: list[Cells] = []
            for n in [steps, steps] + [max(3, steps // 3)] * c.distractors:
                found = self._curve(rng, n, taken)
                if found is None:
                    break
                curves.append(found)
                taken |= {(r + i, k + j) for r, k in found for i in range(-2, 3) for j in range(-2, 3)}
            if len(curves) == 2 + c.distractors:
                break
        x = torch.zeros(c.size, c.size, dtype=torch.int64)
        for curve in curves:
            for i, (row, column) in enumerate(curve):
                x[row, column] = DASH if i % 3 < 2 else GROUND
        label = int(torch.randint(0, 2, (), generator=rng))
        for row, column in (curves[0][0], curves[0][-1] if label else curves[1][0]):
            x[row, column] = CIRCLE
        return x, label

    def _curve(self, rng: torch.Generator, steps: int, taken: set[tuple[int, int]]) -> Cells | None:
        """Different cells of a smooth walk that touches none of those taken, or None where there was no room."""
        size = self.config.size
        for _ in range(TRIES):
            draws = torch.rand(steps + 3, generator=rng).tolist()
            y, x, angle = draws[0] * size, draws[1] * size, 2 * math.pi * draws[2]
            cells: Cells = []
            for turn in draws[3:]:
                cell = (int(y), int(x))
                if not (0 <= y < size and 0 <= x < size) or cell in taken or cell in cells[:-1]:
                    break
                if not cells or cells[-1] != cell:
                    cells.append(cell)
                angle += self.config.bend * (2 * turn - 1)
                y, x = y + math.sin(angle), x + math.cos(angle)
            else:
                return cells
        return None
