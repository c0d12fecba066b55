"""Facts about branches side by side and about stems that keep patches apart, in float64, and about adapting a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.learns import learn_only
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of

Pair = tuple[Tensor, Tensor]


def leak(seed: int, embed: dict[str, Any]) -> Pair:
    """The gradient of every token of an image with respect to all pixels, and with other patches' share put to zero.

    The image has 4 x 4 patches, and token (r, c) stands for patch (r, c).
    """
    part = _made(seed, "embeds", embed, 8)
    side = getattr(part, "stride", part.size)
    raw = _image(seed, part, side).requires_grad_()
    tokens = part(raw)[0][0]
    slopes = torch.stack([torch.autograd.grad(t.sin().sum(), raw, retain_graph=True)[0] for t in tokens])
    own = torch.zeros_like(slopes)
    for i in range(16):
        row, column = (side * n for n in divmod(i, 4))
        patch = (i, ..., slice(row, row + side), slice(column, column + side))
        own[patch] = slopes[patch]
    return slopes, own


def hidden_before(seed: int, embed: dict[str, Any]) -> Pair:
    """Tokens of an image whose second patch is black, and its tokens with the second one put in from a black image."""
    part = _made(seed, "embeds", embed, 8)
    side = getattr(part, "stride", part.size)
    raw = _image(seed, part, side)
    dark = raw.clone()
    dark[..., :side, side : 2 * side] = 0
    with torch.no_grad():
        after = part(raw)[0].clone()
        after[:, 1] = part(torch.zeros_like(raw))[0][:, 1]
        return part(dark)[0], after


def wider(seed: int, parallel: bool = True) -> tuple[list[Tensor], list[Tensor]]:
    """Two branches of attention and of an MLP, and one attention of twice the heads, one MLP of twice the units.

    `parallel: false` has the second part read what the first one leaves, which must not be equal.
    """
    width, at = 12, Layout.lattice(2, (3, 4))
    attention = {"use": "attention", "heads": 2, "head_width": 6, "bias": True}
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 12, width, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = [], []
        for family, slot, small, big in (
            ("mixers", "mixer", attention, {**attention, "heads": 4}),
            ("channels", "channel", {"use": "mlp", "hidden": 10}, {"use": "mlp", "hidden": 20}),
        ):
            branches = _made(seed, family, {"use": "branches", slot: small}, width)
            one = _made(seed, family, big, width)
            first, second = branches.each
            _join(one, first, second)
            theirs.append(x + one(x, at))
            ours.append(x + branches(x, at) if parallel else (y := x + first(x, at)) + second(y, at))
        return ours, theirs


def adapted(seed: int, model: Mapping[str, Any], learns: Sequence[str], steps: int, tune: int) -> float:
    """Share of right answers on the digits 5 to 9 after `steps` on 0 to 4, then `tune` more on 5 to 9 in which only weights
    with these names learn."""
    low, high = (registry.task({"use": "digits", "form": "image", "only": half}) for half in ("low", "high"))
    done = run.train_once(spec_of(model, Change(), low.ends()), low, seed, Train(steps=steps, rate=5e-3))
    learn_only(done.model, *learns)
    return run.train_on(done.model, high, seed, Train(steps=tune, rate=5e-3)).measure


def _image(seed: int, part: Any, side: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(1, part.channels, 4 * side, 4 * side, generator=rng, dtype=torch.float64)


def _join(one: Any, first: Any, second: Any) -> None:
    """The weights of two maps side by side: what they read is stacked, what they answer to the stream is added."""
    a, b = dict(first.named_parameters()), dict(second.named_parameters())
    for name, weight in one.named_parameters():
        last = name.startswith(("o.", "down."))
        if weight.dim() == 2:
            weight.copy_(torch.cat([a[name], b[name]], 1 if last else 0))
        else:
            weight.copy_(a[name] + b[name] if last else torch.cat([a[name], b[name]]))


def _made(seed: int, family: str, tree: dict[str, Any], width: int) -> Any:
    """A part whose weights, vectors too, are drawn from the seed; norms that count have seen something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        part = config(family, tree).build(width).double().eval()
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.4)
        for buffer in part.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
    return part
