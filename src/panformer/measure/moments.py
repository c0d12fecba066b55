"""How large the vectors and gradients of an untrained model are in every layer: as theory says, and as measured.

Theory takes tokens for Gaussian vectors of which any two of a sequence have the same correlation r, and maps for
matrices with entries of mean 0. n keys are visible, q and k map with gain 1 (inputs times the variance of the
weights), s = 1 - r:

attention  variance r + s e^s / n + s^2 / width, covariance r + s e^(r s) / n + r s^2 / width, times the gains of v, o;
           e^s / n is for many keys and has another term for few
network    variance E f(a)^2, covariance E f(a) f(b), times the gains of both maps, a and b Gaussian of correlation r
backward   of a network the same with E f'(a) f'(b); of attention e^s / n (1 + s + s^2) + s^2 / width, by values, keys
           and queries, and c (1 - e^s / n) e^(s r) (1 + s r) of what gradients of correlation c agree in

The terms with the width are what a query adds by drawing keys like itself, which narrow models feel. There too, a norm
after the sum enlarges gradients by 3 share / width: the inverse of a variance that varies is larger than that of its
mean, by 4 of these, and one is lost with the direction that a norm takes away.
Kedia et al. 2024, DeepScaleLM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.shared import Shared
from ..model.model import Model
from ..ops.activations import ACTIVATIONS, Activation

NODES, REACH = 256, 8.0


class Moments(NamedTuple):
    variance: float
    correlation: float  # of two tokens of a sequence, the mean over pairs


@cache
def gaussian() -> tuple[Tensor, Tensor]:
    """Values of a Gaussian of variance 1, and weights with which sums over them are means; none is 0, where slopes jump."""
    x = (torch.arange(NODES, dtype=torch.float64) + 0.5) * (2 * REACH / NODES) - REACH
    w = torch.exp(-x * x / 2)
    return x, w / w.sum()


@cache
def network(activation: Activation, r: float, slope: bool = False) -> Moments:
    """Of f(a), or of its derivative, a Gaussian of variance 1 for each token."""
    a, w = gaussian()
    b = r * a[:, None] + math.sqrt(max(0.0, 1 - r * r)) * a
    left, right = (_applied(activation, x, slope) for x in (a, b))
    own = float((w * left.square()).sum())
    return Moments(own, float(((w * left)[:, None] * w * right).sum()) / own)


def attention(r: float, width: int, keys: Tensor, scores: float = 1.0) -> Moments:
    """Of a head's answer under values with gain 1; keys (T,) visible to each query, `scores` the gains of q times k."""
    s = 1 - r
    own, other = (_sharp(x * scores * s, keys) for x in (1.0, r))
    tilt = scores * s * s / width * float((1 - own).square().mean())
    variance = r + s * float(own.mean()) + tilt
    return Moments(variance, (r + s * float(other.mean()) + r * tilt) / variance)


def _sharp(spread: float, keys: Tensor) -> Tensor:
    """The sum of squares of softmax weights of so many scores of this variance: e^v / n, and less where n is small."""
    one, two = math.expm1(spread), math.expm1(2 * spread)
    return torch.maximum(math.exp(spread) / (keys + max(0.0, 2 * two - 3 * one)), 1 / keys)


class Step(NamedTuple):
    """One branch: what comes in, what it makes of it, and how both are joined."""

    part: Any
    before: Moments
    answer: Moments
    keep: float
    add: float
    normed: bool


def steps(model: Model, x: Moments, tokens: int) -> Iterator[tuple[int, Step]]:
    """(layer, branch) one after the other, from embedded tokens x."""
    keys = torch.full((tokens,), float(tokens))
    if model.spec.causal:
        keys = torch.arange(1.0, tokens + 1)
    for i, layer in enumerate(model.trunk.each()):
        keep, add, normed = _joins(layer.residual)
        for name in layer.branches:
            part = getattr(layer, name)
            step = Step(part, x, _answer(part, x.correlation, model.spec.width, keys), keep, add, normed)
            yield i, step
            x = joined(x._replace(variance=1.0) if normed else x, step.answer, keep, add)


def predict(model: Model, x: Moments, tokens: int) -> list[Moments]:
    """Moments of the stream before the first layer, x, and after every one."""
    after: dict[int, Moments] = {}
    for i, s in steps(model, x, tokens):
        after[i] = joined(s.before._replace(variance=1.0) if s.normed else s.before, s.answer, s.keep, s.add)
    return [x, *after.values()]


def predict_gradients(model: Model, x: Moments, tokens: int) -> list[float]:
    """Variances of the gradients into these, where that into the last is 1 and independent between tokens.

    Of models that are not causal, and sequences of so many tokens.
    """
    g, out, last = Moments(1.0, 0.0), [1.0], len(model.trunk.placed) - 1
    for i, s in reversed(list(steps(model, x, tokens))):
        if i != last:
            out.append(g.variance)
            last = i
        back = _back(s.part, s.before.correlation, g, tokens)
        g = joined(g, back, s.keep, s.add / (1.0 if s.normed else math.sqrt(s.before.variance)))
        if s.normed:  # a norm divides by what a sum came to, which a branch that happens to agree with it makes vary
            vary = (4 * s.keep**2 - 1) * s.add**2 * s.answer.variance / model.spec.width
            g = g._replace(variance=g.variance * (1 + vary) / s.before.variance)
    return [g.variance, *reversed(out)]


def measure(model: Model, h: Tensor, at: Layout, seed: int = 0) -> tuple[list[Moments], list[float]]:
    """(moments of the stream, variances of its gradients) before and after every layer, from embedded tokens h;
    gradients as above."""
    stream = [h.detach().requires_grad_()]
    for layer in model.trunk.each():
        stream.append(layer(stream[-1], at, Shared()))
        stream[-1].retain_grad()
    drawn = torch.randn(h.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32).to(h)
    (stream[-1] * drawn).sum().backward()
    return [moments(s.detach()) for s in stream], [float(s.grad.square().mean()) for s in stream if s.grad is not None]


def moments(h: Tensor) -> Moments:
    """Of hidden vectors (B, T, D) of whole sequences."""
    tokens, own = h.shape[1], float(h.square().mean())
    pairs = float(h.sum(1).square().mean()) - tokens * own
    return Moments(own, pairs / (tokens * (tokens - 1)) / own)


def _applied(activation: Activation, x: Tensor, slope: bool) -> Tensor:
    if not slope:
        return ACTIVATIONS[activation](x)
    x = x.clone().requires_grad_()
    return torch.autograd.grad(ACTIVATIONS[activation](x).sum(), x)[0]


def _answer(part: Any, r: float, width: int, keys: Tensor) -> Moments:
    scores = gain(part.q) * gain(part.k) if part.use() == "attention" else 1.0
    seen = unit_answer(part, r, width, keys, scores)
    maps = (part.v, part.o) if part.use() == "attention" else (part.up, part.down)
    return seen._replace(variance=seen.variance * gain(maps[0]) * gain(maps[1]))


def unit_answer(c: Any, r: float, width: int, keys: Tensor, scores: float = 1.0) -> Moments:
    """What a sublayer, or its config, answers to tokens of variance 1 and correlation r where its maps have gain 1."""
    use = getattr(c, "part", c).use()
    if use == "attention":
        return attention(r, width, keys, scores)
    if use == "mlp":
        return network(c.activation, round(r, 3))
    raise InputError(f"moments: theory speaks of attention and mlp, not of {use!r}")


def _back(part: Any, r: float, g: Moments, tokens: int) -> Moments:
    """The gradient into what a branch reads."""
    if part.use() == "mlp":
        seen = network(part.activation, round(r, 3), True)
        size = seen.variance * gain(part.up) * gain(part.down)
        return Moments(size * g.variance, seen.correlation * g.correlation)
    s, scores, c = 1 - r, gain(part.q) * gain(part.k), g.correlation
    own = float(_sharp(s * scores, torch.tensor(float(tokens))))
    tilt = scores * s * s / part.width
    column = math.exp(scores * s * r) * (1 + scores * s * r)  # tokens that all look at alike get more of what agrees
    variance = own * (1 + scores * (s + s * s)) + tilt + (1 - own) * c * column
    covariance = 1 / tokens + (1 - 1 / tokens) * c + tilt * c
    return Moments(gain(part.v) * gain(part.o) * g.variance * variance, covariance / variance)


def _joins(residual: Any) -> tuple[float, float, bool]:
    """(factor of the stream, of the branch, whether the stream is normalised) of a residual part."""
    if residual.use() == "deep_scale":
        return residual.keep, residual.add, residual.carries == "norm"
    if residual.use() == "pre":
        return 1.0, 1.0, False
    raise InputError(f"moments: theory speaks of residuals pre and deep_scale, not of {residual.use()!r}")


def joined(x: Moments, f: Moments, keep: float, add: float) -> Moments:
    old, new = keep**2 * x.variance, add**2 * f.variance
    return Moments(old + new, (old * x.correlation + new * f.correlation) / (old + new))


def gain(map: Any) -> float:
    """How many times larger the variance is that a map answers with."""
    return float(map.weight.detach().square().mean()) * map.weight.shape[1]
