"""Classify a picture as one long row of its pixels, grey levels as tokens.

The form of image classification in the Long Range Arena (Tay et al. 2020; Krizhevsky 2009, CIFAR-10 in grey), which
cannot be had; here `data` is any built-in set of pictures, brought to `side` pixels a side. Digits have 8: more are
longer rows, not harder pictures.
"""

from __future__ import annotations

from functools import cache

import torch
from pydantic import Field
from torch import Tensor

from ...core.errors import InputError
from ...data.base import Dataset
from ...data.open import open_data
from ...data.prepare import Image
from ._base import Batch, Options, Task, draw


class Pixels(Task):
    class Config(Options):
        data: str = Field("digits", description="a built-in set of pictures")
        side: int = Field(8, ge=2, description="pixels of each side")
        levels: int = Field(16, ge=2, le=256, description="of grey")

    tests = 256

    def ends(self):
        classes = len(_open(self.config.data, self.config.side).task.classes)
        return {
            "embed": {"use": "tokens", "vocab": self.config.levels},
            "head": {"use": "classify", "classes": classes},
        }

    def batch(self, rng, size):
        return self._take(rng, size, "train")

    def test(self, rng, size):
        return self._take(rng, size, "test")

    def _take(self, rng: torch.Generator, size: int, split: str) -> Batch:
        lines, labels = _lines(self.config.data, self.config.side, self.config.levels, split)
        chosen = draw(rng, 0, len(labels), size)
        return Batch(lines[chosen].long(), y=labels[chosen])


@cache
def _open(name: str, side: int) -> Dataset:
    data = open_data(name, image_size=side)
    if data.task.reads != "image" or data.task.kind != "classification":
        raise InputError(f"pixels: {name} holds no pictures of classes")
    return data


@cache
def _lines(name: str, side: int, levels: int, split: str) -> tuple[Tensor, Tensor]:
    """(N, side * side) levels, the mean of the colours, and (N,) classes."""
    data = _open(name, side)
    given = data.prepare.input  # type: ignore[attr-defined]
    assert isinstance(given, Image)
    examples = getattr(data, split)
    mean, std = (torch.tensor(v)[:, None, None] for v in (given.mean, given.std))
    grey = (torch.stack(list(examples.inputs)) * std + mean).mean(1).clamp(0, 1)
    return (grey * (levels - 1)).round().to(torch.uint8).flatten(1), torch.stack(list(examples.targets))
