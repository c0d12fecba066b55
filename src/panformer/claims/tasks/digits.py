"""Handwritten digits, 8x8 pixels of 17 levels (scikit-learn's copy of the UCI set), 1,797 images.

`image` classifies the picture, `pixels` the row of 64 pixel tokens, `draw` predicts each pixel from those
before it, measured in bits per pixel. `cell` 2 or 4 averages squares of pixels into one for `pixels`, which `order` may
permute, alike in all images, and of which a test may withhold the end. Every fifth image is for the test, where `test`
enlarges a picture and `ground` puts it anywhere on a larger one. `only` keeps half of the digits.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import require
from ._base import Batch, Options, Task, bits, tokens

LEVELS = 17


class Digits(Task):
    class Config(Options):
        form: str = Field("image", pattern="^(image|pixels|draw)$")
        cell: Literal[1, 2, 4] = Field(1, description="pixels of each side of a square that becomes one")
        order: Literal["rows", "permuted"] = "rows"
        withheld: float = Field(0, ge=0, lt=1, description="share of the sequence that is left out in the test")
        only: Literal["low", "high"] | None = Field(None, description="of the ten digits 0 to 4, or 5 to 9")
        test: int | None = Field(None, gt=0, description="pixels of each side in the test of `image`")
        ground: int | None = Field(None, ge=8, description="pixels of each side that a picture of the test lies on")

        @model_validator(mode="after")
        def _of_its_form(self):
            if self.form != "pixels" and (self.order != "rows" or self.withheld):
                raise ValueError(f"form {self.form} takes neither order nor withheld; they are of pixels")
            if self.form != "image" and (self.test or self.ground):
                raise ValueError("test and ground are for pictures; form must be image")
            if self.ground is not None and self.ground < (self.test or 8):
                raise ValueError("the ground is smaller than the picture")
            return self

    tests = 384
    later = frozenset({"test", "ground", "withheld"})

    def __init__(self, config) -> None:
        super().__init__(config)
        self.lower_is_better = config.form == "draw"

    def ends(self):
        if self.config.form == "image":
            embed = {"use": "patches", "size": 1, "channels": 1}
            return {"embed": embed, "head": {"use": "classify", "classes": 10}}
        embed = {"use": "tokens", "vocab": LEVELS + 1}
        if self.config.form == "pixels":
            return {"embed": embed, "head": {"use": "classify", "classes": 10}}
        return tokens(LEVELS + 1, LEVELS)

    def batch(self, rng, size):
        return self._take(rng, size, False)

    def test(self, rng, size):
        batch = self._take(rng, size, True)
        if self.config.withheld:
            batch = batch._replace(x=batch.x[:, : round(batch.x.shape[1] * (1 - self.config.withheld))])
        return batch

    def score(self, out, target):
        return bits(out, target) if self.config.form == "draw" else super().score(out, target)

    @property
    def resolution(self) -> float:
        return 0.0 if self.config.form == "draw" else 1.0 / self.tests

    def _take(self, rng: torch.Generator, size: int, test: bool) -> Batch:
        pixels, labels = side(test)
        if self.config.only:
            there = (labels >= 5) == (self.config.only == "high")
            pixels, labels = pixels[there], labels[there]
        chosen = torch.randint(0, len(labels), (size,), generator=rng)
        pixels, labels = pixels[chosen], labels[chosen]
        if self.config.form == "image":
            picture = pixels.view(-1, 1, 8, 8).float() / 8 - 1
            return Batch(self._tested(rng, picture) if test else picture, y=labels)
        if self.config.form == "pixels":
            cell = self.config.cell
            squares = pixels.view(size, 8 // cell, cell, 8 // cell, cell).float().mean((2, 4))
            line = squares.round().long().flatten(1)
            return Batch(line if self.config.order == "rows" else line[:, permutation(line.shape[1])], y=labels)
        start = torch.full((size, 1), LEVELS)
        return Batch(torch.cat([start, pixels[:, :-1]], 1), y=pixels)

    def _tested(self, rng: torch.Generator, picture: Tensor) -> Tensor:
        """(B, 1, 8, 8) -> the picture as the test shows it."""
        if self.config.test is not None:
            picture = F.interpolate(picture, size=(self.config.test,) * 2, mode="bilinear", align_corners=False)
        if self.config.ground is None:
            return picture
        size, room = picture.shape[-1], self.config.ground - picture.shape[-1]
        out = picture.new_full((len(picture), 1, self.config.ground, self.config.ground), -1.0)
        for i, (row, column) in enumerate(torch.randint(0, room + 1, (len(picture), 2), generator=rng).tolist()):
            out[i, :, row : row + size, column : column + size] = picture[i]
        return out


def side(test: bool) -> tuple[Tensor, Tensor]:
    """The images of the test or of training: (N, 64) pixel levels, (N,) labels."""
    pixels, labels = _load()
    held = torch.arange(len(labels)) % 5 == 0
    pool = (held if test else ~held).nonzero()[:, 0]
    return pixels[pool], labels[pool]


def permutation(length: int) -> Tensor:
    """The one order in which permuted pixels come."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(0))


@cache
def _load() -> tuple[Tensor, Tensor]:
    """(N, 64) pixel levels 0 to 16, (N,) labels."""
    found = require("sklearn.datasets", "choose").load_digits()
    return torch.from_numpy(found.data).long(), torch.from_numpy(found.target).long()
