"""Facts about positions, in float64: what depends on distance alone, and what a bias can express."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...model.build import build

Pair = tuple[Tensor, Tensor]


def shifted(seed: int, position: Mapping[str, Any], mixer: str = "attention", shift: int = 50, heads: int = 2) -> Pair:
    """A causal mixer's answer to tokens that start at `shift`, and at 0: equal where only distance counts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x = torch.randn(1, 9, 16, dtype=torch.float64)
        place = config("positions", dict(position))
        tree = {"use": mixer, "heads": heads, "causal": True}
        if place.part.kind == "add":
            part, added = config("mixers", tree).build(16).double(), place.build(1, 16).double()
            sides = [part(added.add(x, at), at) for at in (Layout.dense(1, 9, shift), Layout.dense(1, 9))]
        else:
            part = config("mixers", {**tree, "position": place}).build(16).double()
            sides = [part(x, at) for at in (Layout.dense(1, 9, shift), Layout.dense(1, 9))]
    return sides[0], sides[1]


def norm_kept(seed: int, pairing: str = "half") -> Pair:
    """Lengths of vectors after the rotation, and before."""
    x = _vectors(seed)
    turned = config("positions", {"use": "rope", "pairing": pairing}).build(1, 8).rotate(x, Layout.dense(1, 40))
    return turned.norm(dim=-1), x.norm(dim=-1)


def pairings(seed: int, permuted: bool = True) -> Pair:
    """Interleaved rotation, and the rotation of halves under the permutation that pairs 2i, 2i+1 as i, i+d/2.

    Without the permutation they must not be equal.
    """
    x, at = _vectors(seed), Layout.dense(1, 40)
    order = torch.arange(8).view(4, 2).T.flatten()  # even places, then odd ones
    inter, half = (config("positions", {"use": "rope", "pairing": p}).build(1, 8) for p in ("interleaved", "half"))
    if not permuted:
        return inter.rotate(x, at), half.rotate(x, at)
    return inter.rotate(x, at)[..., order], half.rotate(x[..., order], at)


def complex_form(seed: int) -> Pair:
    """The rotation of pairs, and multiplication of complex numbers by exp(i t theta): the paper's equation."""
    x, at = _vectors(seed), Layout.dense(1, 40)
    turned = config("positions", {"use": "rope", "pairing": "interleaved"}).build(1, 8).rotate(x, at)
    rate = 10_000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    wave = torch.polar(torch.ones(40, 4).double(), torch.arange(40.0).double()[:, None] * rate)
    return turned, torch.view_as_real(torch.view_as_complex(x.view(1, 1, 40, 4, 2)) * wave).flatten(-2)


def fire_as(seed: int, target: Mapping[str, Any], bound: int = 48, knees: int | None = None, heads: int = 2) -> Pair:
    """FIRE's bias with a network that interpolates a target's bias at every distance below `bound`; and the target's.

    psi(x) = log(1 + c x) rises, so a network of ReLUs with a knee at each distance takes any values there.
    With fewer `knees` than distances it cannot follow every target.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        want = config("positions", dict(target)).build(heads, 8).double()
    at = Layout.dense(1, bound)
    value = _lower(want.bias().value(at, at).expand(1, heads, bound, bound))
    count = bound if knees is None else knees
    fire = config("positions", {"use": "fire", "hidden": count, "threshold": float(bound)}).build(heads, 8).double()
    distances = torch.linspace(0, bound - 1, count).round().long()
    table = want.bias().value(at, at).expand(1, heads, bound, bound)[0, :, -1].flip(-1)[:, distances].T  # (count, H)
    _interpolate(fire, distances, table, bound)
    return _lower(fire.bias().value(at, at)), value


@torch.no_grad()
def _interpolate(fire: Any, distances: Tensor, table: Tensor, bound: int) -> None:
    """Set FIRE's network to the piecewise-linear function through (psi(d) / psi(bound), table[d])."""
    c = float(fire.c)
    place = torch.log1p(c * distances.double()) / math.log1p(c * bound)  # (count,)
    slope = (table[1:] - table[:-1]) / (place[1:] - place[:-1])[:, None]  # (count - 1, H)
    change = torch.cat([slope[:1], slope[1:] - slope[:-1], torch.zeros_like(slope[:1])])
    first, _, last = fire.f
    first.weight.fill_(1.0)
    first.bias.copy_(-place)
    last.weight.copy_(change.T)
    last.bias.copy_(table[0])


def _lower(value: Tensor) -> Tensor:
    """(1, H, n, n) with what lies after the query left out."""
    return torch.tril(value.expand(1, -1, -1, -1))


def permutation(seed: int, causal: bool = False, position: Mapping[str, Any] | None = None) -> Pair:
    """A two-layer model's answer to shuffled tokens, and its shuffled answer: equal if it cannot tell order."""
    tree: dict[str, Any] = {
        "width": 16, "causal": causal, "embed": {"use": "tokens", "vocab": 31},
        "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    }  # fmt: skip
    if position is not None:
        tree["position"] = dict(position)
    model = build(tree, seed=seed).double().eval()
    rng = torch.Generator().manual_seed(seed)
    x, order = torch.randint(0, 31, (2, 13), generator=rng), torch.randperm(13, generator=rng)
    with torch.no_grad():
        return model(x[:, order]), model(x)[:, order]


def _vectors(seed: int) -> Tensor:
    return torch.randn(1, 1, 40, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
