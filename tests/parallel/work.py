"""What every process of a test does."""

from __future__ import annotations

import torch

import panformer
from panformer.core.layout import Layout
from panformer.core.score import Causal, HeadWindow, Prefix, Same, Slope, Window
from panformer.ops.kernels import attend_blocks
from panformer.parallel import Grid, Spread, attend, run, total

LENGTH, HEADS, GROUPS = 48, 8, 4
WAYS = {"ring": (1, "contiguous"), "zigzag": (1, "zigzag"), "ulysses": (0, "zigzag"), "usp": (2, "zigzag")}
SCORES = {
    "both": lambda: Same(),
    "causal": lambda: Same() & Causal(),
    "window": lambda: Same() & Causal() & Window(7),
    "prefix": lambda: Same() & (Causal() | Prefix(5)),
    "sloped": lambda: (Same() & Causal()) + Slope(torch.arange(1, 9).double() / 10),
    "head windows": lambda: (Same() & Causal()) + HeadWindow(torch.tensor([1, 5, 20, -1] * 2)),
}
LAYOUTS = {
    "dense": lambda: Layout.dense(2, LENGTH),
    "packed": lambda: Layout.packed([21, 1, 26]),
    "padded": lambda: Layout.padded([LENGTH, 19]),
}
SPEC = {
    "width": 16,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 11},
    "head": {"use": "tag", "classes": 11},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 8, "kv_heads": 4}, "channel": "glu"}],
    "position": "rope",
}


def inputs(at):
    rng = torch.Generator().manual_seed(0)

    def draw(heads, width):
        return torch.randn(at.batch, heads, at.length, width, generator=rng, dtype=torch.float64)

    return draw(HEADS, 6), draw(GROUPS, 6), draw(GROUPS, 5)


def model():
    return panformer.build(SPEC, seed=0).double(), torch.arange(2 * LENGTH).view(2, LENGTH) * 7 % 11


def each():
    """Outputs, gradients and bytes of every way of spreading, score and layout; and a model's, under rope."""
    attend_blocks.SIZE = 4
    found = {}
    for way, (heads, order) in WAYS.items():
        grid = Grid(heads or torch.distributed.get_world_size())
        for name, score in SCORES.items():
            for form, layout in LAYOUTS.items():
                spread = Spread(grid, layout(), order)
                q, k, v = own = [spread.share(x, 2).requires_grad_() for x in inputs(spread.at)]
                grid.sent = 0
                out = attend(q, k, v, score(), spread, 0.4)
                forward, grid.sent = grid.sent, 0
                grads = torch.autograd.grad(out.sin().sum(), own)
                key = f"{way}/{name}/{form}"
                for part, x in zip("oqkv", (out, *grads), strict=True):
                    found[f"{key}/{part}"] = spread.whole(x, 2)
                found[f"{key}/sent"] = torch.tensor([forward, grid.sent])
        net, x = model()
        spread = Spread(grid, Layout.dense(*x.shape), order)
        y = run(net, x, spread)
        y.sin().sum().backward()
        total(net)
        found[f"{way}/model/y"] = spread.whole(y)
        found |= {f"{way}/model/{n}": p.grad for n, p in net.named_parameters()}
    return found
