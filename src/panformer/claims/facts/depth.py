"""Facts about the size of vectors and gradients in very deep models before training, and about training such models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...core.spec import Spec, read
from ...linears.gain import Gain
from ...measure import moments as theory
from ...model.build import build
from ...papers.schema import Change, Train
from ...train.deep_scale import deep_scale
from .. import registry, run
from ..arms import spec_of

Start = Literal["deep_scale", "xavier", "plain"]
Carries = Literal["stream", "norm"]
Side = Literal["forward", "backward"]
TOKENS, DRAWS = 64, 8


def apart(
    seed: int, start: Start, carries: Carries = "stream", side: Side = "forward", layers: int = 192, alike: bool = True
) -> float:
    """The largest share by which a variance, the mean over some draws of the weights, is off the predicted one, over
    all layers. Without `alike` theory takes tokens for independent."""
    sizes = profile(seed, start, carries, layers, False)
    got, want = sizes[side], sizes[f"{side} {'predicted' if alike else 'of independent tokens'}"]
    return max(abs(a / b - 1) for a, b in zip(got, want, strict=True))


def drift(seed: int, start: Start, carries: Carries = "stream", side: Side = "forward", layers: int = 192) -> float:
    """How many times larger or smaller that variance becomes, at the worst layer, than where it comes from."""
    values = profile(seed, start, carries, layers, True)[side]
    first = values[0 if side == "forward" else -1]
    return max(max(v / first, first / v) for v in values)


@cache
def profile(seed: int, start: Start, carries: Carries, layers: int, text: bool) -> dict[str, list[float]]:
    """Variances before the first layer and after each: of vectors and gradients, as measured on text or on tokens as
    theory has them, and for these, but for Post-LN with a plain sum, as predicted."""
    x, rows = _text(seed), defaultdict(list)
    net = build(_deep(start, carries, layers, equal_pairs(x)), seed=seed)
    for draw in range(DRAWS * seed, DRAWS * (seed + 1)):
        _draw(net, draw)
        h, at = net.embed(x)
        found, slopes = theory.measure(net, h if text else _gaussian(draw, equal_pairs(x), h), at, draw)
        rows["forward"].append([m.variance for m in found])
        rows["backward"].append(slopes)
        if text or net.trunk.each()[0].residual.use() == "post":
            continue
        for name, r in (("predicted", found[0].correlation), ("of independent tokens", 0.0)):
            first = theory.Moments(found[0].variance, r)
            rows[f"forward {name}"].append([m.variance for m in theory.predict(net, first, TOKENS)])
            rows[f"backward {name}"].append(theory.predict_gradients(net, first, TOKENS))
    return {name: [sum(c) / DRAWS for c in zip(*each, strict=True)] for name, each in rows.items()}


def trained(seed: int, model: Mapping[str, Any], start: Start, steps: int, rate: float, length: int = TOKENS) -> float:
    """Bits per byte of unseen text after training from this start."""
    task = registry.task({"use": "text", "length": length})
    spec = read(spec_of(model, Change(), task.ends()))
    if start == "deep_scale":
        spec = deep_scale(spec, equal_pairs(_text(seed)), length)
    how = Train(steps=steps, batch=16, rate=rate)
    return run.train_on(build(spec, seed=seed), task, seed, how).measure


def equal_pairs(x: Tensor) -> float:
    """The share of pairs of tokens of a row (B, T) that are equal."""
    same, tokens = (x[:, :, None] == x[:, None]).float().sum((1, 2)).mean(), x.shape[1]
    return float(same - tokens) / (tokens * (tokens - 1))


@torch.no_grad()
def _draw(net: nn.Module, seed: int) -> None:
    """Other weights, as a model built with another seed has them; building one this deep takes longer."""
    rng = torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, nn.Linear | Gain):
            nn.init.normal_(m.weight, std=getattr(m, "by", 1.0) * m.weight.shape[1] ** -0.5, generator=rng)
        elif isinstance(m, nn.Embedding):
            nn.init.normal_(m.weight, std=0.02, generator=rng)


def _gaussian(seed: int, r: float, like: Tensor) -> Tensor:
    """Tokens as theory has them, any two of a row with this correlation."""
    rng = torch.Generator().manual_seed(seed)
    one, own = torch.randn(len(like), 1, like.shape[2], generator=rng), torch.randn(like.shape, generator=rng)
    return r**0.5 * one + (1 - r) ** 0.5 * own


def _text(seed: int) -> Tensor:
    task = registry.task({"use": "text", "length": TOKENS})
    return task.test(torch.Generator().manual_seed(seed), 4).x


def _deep(start: Start, carries: Carries, layers: int, correlation: float) -> Spec:
    """A two-sided model of width 64 with norms before (`stream`) or after (`norm`) the sum."""
    layer = {"mixer": {"use": "attention", "heads": 4}, "channel": {"use": "mlp", "activation": "relu"}}
    embed = {"use": "tokens", "vocab": 258, "norm": "layer"}
    tree = {"width": 64, "embed": embed, "schedule": [{"repeat": layers, **layer}]}
    if start == "deep_scale":
        return deep_scale(read(tree), correlation, TOKENS, carries=carries)
    stands = []
    if start == "xavier":  # 2 / (inputs + outputs), of square maps the usual variance
        gains = {"up": (2 / 5) ** 0.5, "down": (8 / 5) ** 0.5}
        stands = [{"where": f"trunk.*.{n}", "use": {"use": "gain", "by": by}} for n, by in gains.items()]
    return read({**tree, "linears": stands, "residual": "pre" if carries == "stream" else "post"})
