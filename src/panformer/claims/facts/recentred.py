"""Facts about models whose layer norms were rewritten to norms without a mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ...core.layout import Layout
from ...core.part import config
from ...core.spec import read
from ...model.build import build
from ...model.io import without_draws
from ...model.model import Model
from ...model.recentre import Form, recentre
from ...norms.layer import Layer
from ...papers.schema import Change, Train
from ...train import loop
from .. import registry, run
from ..arms import spec_of
from ..tasks._base import Feed
from ._time import ratio

Pair = tuple[Tensor, Tensor]
TEXT = {"use": "text", "length": 32}


def preset(seed: int, name: str, form: Form, centred: bool = True) -> Pair:
    """Answers of a model of a preset's size, all weights drawn, after and before the rewrite. Without `centred` norms
    change but what the layers write keeps its mean."""
    net, x = _preset(name, seed)
    return _both(net, form, centred, x)


@lru_cache(maxsize=1)  # of hundreds of megabytes; a fact and its control, in both forms, ask for the same
def _preset(name: str, seed: int) -> tuple[Model, Tensor]:
    net = _drawn(build_blank(name).double(), seed)
    x = net.dummy(196 if net.embed.reads == "image" else 12)[0]
    rng = torch.Generator().manual_seed(seed)
    if x.is_floating_point():
        x = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    else:
        x = torch.randint(0, 256, x.shape, generator=rng)
    return net, x


def trained(seed: int, model: Mapping[str, Any], form: Form, steps: int = 100, centred: bool = True) -> Pair:
    """The same of a model that was trained on text."""
    task = registry.task(TEXT)
    spec = spec_of(model, Change(), task.ends())
    net = run.train_once(spec, task, seed, Train(steps=steps, batch=16, rate=5e-3)).model.double().eval()
    return _both(net, form, centred, task.test(torch.Generator().manual_seed(seed), 4).x)


def trajectories(seed: int, model: Mapping[str, Any], steps: int = 20, centred: bool = True) -> Pair:
    """The losses of training with layer norms, and with RMS norms where all that goes into the stream is centred."""
    task, losses = registry.task(TEXT), []
    maps = [{"where": f"trunk.*.{name}", "use": "centred"} for name in ("o", "down")]
    stream = {"embed": {"norm": "centre"}, "linears": maps} if centred else {}
    for change in ({"norm": {"use": "layer", "bias": False}}, {"norm": {"use": "rms", "eps": 1e-5}, **stream}):
        net = build(spec_of(model, Change(model=change), task.ends()), seed=seed).double()
        feed = Feed(task, 8, torch.Generator().manual_seed(seed))
        how = loop.Train(steps=steps, batch=8, rate=3e-3, decay=0, seed=seed)
        losses.append(torch.tensor(loop.fit(net, task.goal, feed, how).losses, dtype=torch.float64))
    return losses[0], losses[1]


def norm_time(seed: int, use: str, width: int = 768, rows: int = 512, backward: bool = False) -> float:
    """The time of a norm of so many tokens, or of it and its gradients, over that of a layer norm. As in a
    rewritten model `crms` has one channel less and no weight, which the next map has taken over."""

    def work(use: str) -> Callable[[], None]:
        wide = width - (use == "crms")
        norm = config("norms", {"use": use, **({"weight": False} if use == "crms" else {})}).build(wide)
        x, at = torch.randn(1, rows, wide).requires_grad_(backward), Layout.dense(1, rows)

        def run() -> None:
            with torch.set_grad_enabled(backward):
                y = norm(x, at)
            if backward:
                y.sum().backward()

        return run

    torch.manual_seed(seed)
    return ratio(work(use), work("layer"), 30)


def build_blank(name: str) -> Model:
    """The model of a preset, no weights drawn."""
    with without_draws():
        return build(read(name), seed=0)


@torch.no_grad()
def _drawn(net: Model, seed: int) -> Model:
    """Every weight drawn: matrices as for maps, norms near 1, the rest small."""
    rng = torch.Generator().manual_seed(seed)
    for module in net.modules():
        for name, p in module.named_parameters(recurse=False):
            size = p[0].numel() ** -0.5 if isinstance(module, nn.Linear | nn.Conv2d) and p.dim() > 1 else 0.3
            p.copy_(size * torch.randn(p.shape, generator=rng, dtype=torch.float32))
            if isinstance(module, Layer) and name == "weight":
                p.add_(1.0)
    return net.eval()


@torch.no_grad()
def _both(net: Model, form: Form, centred: bool, x: Tensor) -> Pair:
    new, old = recentre(net, form), net.state_dict()
    if not centred:
        for name, p in new.named_parameters():
            if name.endswith((".o.weight", ".down.weight")):
                p.copy_(old[name][: len(p)])
    return new(x), net(x)
