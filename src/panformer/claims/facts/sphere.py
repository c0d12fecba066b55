"""Facts about models whose vectors have length 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ...core.layout import Layout
from ...embeds.unit_tokens import UnitTokens
from ...linears.unit import Unit
from ...model.build import build
from ...model.model import Model
from ...papers.schema import Change
from ...train import loop
from .. import registry
from ..arms import spec_of
from ..tasks._base import Feed, Task

Pair = tuple[Tensor, Tensor]


def lengths_after_steps(seed: int, model: Mapping[str, Any], steps: int = 3, hold: bool = True) -> Pair:
    """Lengths of all vectors of weights and of the stream before and after every layer, after each of some steps of
    training, and ones. Without `hold` weights are left as the optimiser leaves them."""
    task = registry.task({"use": "text", "length": 16})
    net = build(spec_of(model, Change(), task.ends()), seed=seed).double()
    if not hold:
        for module in net.modules():
            module.after_step = lambda: None  # type: ignore[assignment]
    x = task.test(torch.Generator().manual_seed(seed), 2).x
    found: list[Tensor] = []

    def watch(_fit: loop.Fit, _how: loop.Train) -> None:
        found.extend([*weights(net), *stream(net, x)])

    feed = Feed(task, 8, torch.Generator().manual_seed(seed))
    loop.fit(net, task.goal, feed, loop.Train(steps=steps, batch=8, rate=1e-2, warmup=0, seed=seed), watch=watch)
    lengths = torch.cat(found)
    return lengths, torch.ones_like(lengths)


def weights(net: nn.Module) -> list[Tensor]:
    """The lengths of the vectors that its maps and tables are made of."""
    maps = [torch.linalg.vector_norm(m.weight.detach(), dim=m.axis) for m in net.modules() if isinstance(m, Unit)]
    tables = [m.table.weight.detach().norm(dim=-1) for m in net.modules() if isinstance(m, UnitTokens)]
    return maps + tables


@torch.no_grad()
def stream(net: Model, x: Tensor) -> list[Tensor]:
    """The lengths of the embedded tokens and of what each layer answers."""
    seen = [net.embed(x, Layout.dense(*x.shape))[0]]
    hooks = [layer.register_forward_hook(lambda _m, _i, out: seen.append(out)) for layer in net.trunk.each()]
    net(x)
    for hook in hooks:
        hook.remove()
    return [h.norm(dim=-1).flatten() for h in seen]


def fewer_steps(
    seed: int,
    model: Mapping[str, Any],
    baseline: Mapping[str, Any],
    length: int,
    steps: int,
    rate: float,
    against: float,
) -> float:
    """How many times fewer steps than `baseline` (a change of the model, trained at the rate `against`) the model needs
    until its loss on unseen text is what the baseline's is after all `steps`; 0 where it never is.

    A batch is of 1024 bytes, whatever the length. Both fall along a cosine; only the baseline is warmed up.
    """
    task = registry.task({"use": "text", "length": length})
    ends = task.ends()
    base = json.dumps(spec_of(model, Change(model=dict(baseline)), ends), sort_keys=True)
    goal = curve(base, length, seed, steps, against, 0.1)[-1][1]
    own = json.dumps(spec_of(model, Change(), ends), sort_keys=True)
    ours = curve(own, length, seed, steps, rate, 0.1 if own == base else 0.0)
    return next((steps / step for step, loss in ours if loss <= goal), 0.0)


@cache
def curve(spec: str, length: int, seed: int, steps: int, rate: float, warmup: float) -> list[tuple[int, float]]:
    """(step, loss on unseen text), of a model that is given as JSON."""
    task = registry.task({"use": "text", "length": length})
    net, batch = build(json.loads(spec), seed=seed), 1024 // length
    test = task.test(torch.Generator().manual_seed(5_000_000 + seed), 16 * batch)
    how = loop.Train(steps=steps, batch=batch, rate=rate, decay=0, warmup=warmup, check=max(1, steps // 25), seed=seed)
    feed = Feed(task, batch, torch.Generator().manual_seed(10_000 + seed))
    return loop.fit(net, task.goal, feed, how, lambda net: _loss(net, task, test.x)).checks


@torch.no_grad()
def _loss(net: Model, task: Task, x: Tensor) -> float:
    given, target = task.goal.corrupt(x, Layout.dense(*x.shape), torch.Generator())
    return float(task.goal.loss(net(given), target)["loss"])
