"""Facts about experts that are drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...channels.random_experts import RandomExperts
from ...core.layout import Layout
from ...core.part import config
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of

Pair = tuple[Tensor, Tensor]


def one_network(seed: int, experts: int = 3, differ: bool = False) -> Pair:
    """Random experts that all have the weights of one network, and that network; or experts that `differ`."""
    torch.manual_seed(seed)
    part = config("channels", {"use": "random_experts", "experts": experts, "hidden": 10}).build(6).double()
    plain = config("channels", {"use": "mlp", "hidden": 10, "bias": False}).build(6).double()
    with torch.no_grad():
        plain.up.weight.copy_(part.up[0])
        plain.down.weight.copy_(part.down[0])
        if not differ:
            part.up.copy_(part.up[:1].expand_as(part.up))
            part.down.copy_(part.down[:1].expand_as(part.down))
    x, at = torch.randn(2, 40, 6, dtype=torch.float64), Layout.dense(2, 40)
    return part.train()(x, at), plain(x, at)


def two_passes(seed: int, alpha: float = 5.0, weight: float = 5.0) -> Pair:
    """The consistency loss at `alpha`, and the two cross entropies with `weight` / 2 of both divergences, as sums."""
    torch.manual_seed(seed)
    out, target = torch.randn(6, 5, 7, dtype=torch.float64), torch.randint(7, (3, 5))
    got = config("objectives", {"use": "consistency", "alpha": alpha}).build().loss(out, target)["loss"]
    one, two = (x.flatten(0, 1).softmax(-1) for x in out.chunk(2))
    apart = (one * (one / two).log() + two * (two / one).log()).sum(-1).mean()
    entropy = F.nll_loss(one.log(), target.flatten()) + F.nll_loss(two.log(), target.flatten())
    return got, entropy + weight / 2 * apart


def spread(seed: int, model: Mapping[str, Any], steps: int, agree: float | None = None, draws: int = 8) -> float:
    """Bits per byte: the standard deviation over draws of the experts, of one model trained on text."""
    task = registry.task({"use": "text", "length": 64, "agree": agree})
    spec = spec_of(model, Change(), task.ends())
    done = run.train_once(spec, task, seed, Train(steps=steps, batch=16, rate=5e-3))
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(draws):
        for part in done.model.modules():
            if isinstance(part, RandomExperts):
                part.redraw(rng)
        found.append(task.measure(done.model, seed))
    return float(torch.tensor(found, dtype=torch.float64).std())
