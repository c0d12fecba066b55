"""The forms of a batch that operators are tested on: full, padded on either side, packed, and all of it at once."""

import torch

from panformer.core.layout import Layout

MIXED = Layout(
    torch.tensor([[0, 0, 1, 1, 1, 1, 2, -1, -1, -1], [-1, 0, 0, 0, 0, 0, 0, 1, 1, 1]]),
    torch.tensor([[0, 1, 0, 1, 2, 3, 0, 0, 0, 0], [0, 0, 1, 2, 3, 4, 5, 0, 1, 2]])[..., None],
)
BATCHES = {
    "dense": Layout.dense(2, 10),
    "left": Layout.padded([10, 3, 1], side="left"),
    "right": Layout.padded([2, 10, 5]),
    "packed": Layout.packed([1, 2, 3, 4, 6]),
    "mixed": MIXED,
}
LONGER = {  # for what works in blocks of eight tokens
    "dense": Layout.dense(2, 29),
    "packed": Layout.packed([23, 2, 21]),
    "right": Layout.padded([26, 3, 20]),
    "left": Layout.padded([26, 3, 20], side="left"),
    "one token": Layout.dense(1, 1),
}
