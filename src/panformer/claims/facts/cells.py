"""Facts about positions on a lattice, in float64."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.build import build

Pair = tuple[Tensor, Tensor]


def moved_picture(seed: int, border: Literal["zeros", "wrap"] = "wrap", kernel: int = 3) -> Pair:
    """What a network with PEG for positions answers to a picture that is moved around a torus, and its moved answer.

    With `border: zeros` cells know how far the border is, which must not be equal.
    """
    layer: dict[str, Any] = {"mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}
    peg = {"mixer": {"use": "peg", "kernel": kernel, "border": border}, "norm": "none"}
    embed = {"use": "patches", "size": 1, "channels": 2}
    model = build({"width": 16, "embed": embed, "schedule": [layer, peg, layer]}, seed=seed).double().eval()
    x = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with torch.no_grad():
        moved = model(x.roll((2, 1), (2, 3)))
        return moved, model(x).unflatten(1, (5, 6)).roll((2, 1), (1, 2)).flatten(1, 2)


def peg_by_hand(seed: int, border: Literal["zeros", "wrap"] = "zeros", kernel: int = 3) -> Pair:
    """PEG, and the sum over neighbours for every cell with nothing beyond the border.

    `border: wrap` finds the other side's cells there, which must not be equal.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = config("mixers", {"use": "peg", "kernel": kernel, "border": border}).build(4).double()
        x = torch.randn(2, 4, 5, 4, dtype=torch.float64)
    want = part.conv.bias.expand_as(x).clone()
    reach = kernel // 2
    for row in range(4):
        for column in range(5):
            for i in range(max(0, row - reach), min(4, row + reach + 1)):
                for j in range(max(0, column - reach), min(5, column + reach + 1)):
                    weight = part.conv.weight[:, 0, i - row + reach, j - column + reach]
                    want[:, row, column] += weight * x[:, i, j]
    return part(x.flatten(1, 2), Layout.lattice(2, (4, 5))), want.flatten(1, 2)
