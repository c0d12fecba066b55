"""Facts about what stands in the place of linear maps, activations and residual sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from ...core.part import config
from ...core.shared import Shared
from ...linears.hashed_tables import corners
from ...model.build import build
from ...model.grow import grow
from ...ops import product_keys
from ...papers.schema import Change, Train
from ...train import mimic
from .. import registry, run
from ..arms import spec_of

Pair = tuple[Tensor, Tensor]


def largest_gain(seed: int, use: str = "spectral", uses: int = 2000) -> Pair:
    """The largest singular value of a map after so many uses in training, and the gain it says it has (a plain one: 1)."""
    torch.manual_seed(seed)
    plain = torch.nn.Linear(7, 12, bias=False).double()
    part: Any = plain
    if use != "plain":
        c = config("linears", {"use": use, "gain": 1.7})
        part = c.part(c, 7, 12, False).double()
        part.take(plain)
    with torch.no_grad():
        for _ in range(uses):
            part(torch.zeros(1, 7, dtype=torch.float64))
        matrix = part(torch.eye(7, dtype=torch.float64))
    gain = part.gamma.detach() if use != "plain" else torch.ones((), dtype=torch.float64)
    return torch.linalg.matrix_norm(matrix, 2), gain


def _least(size: Tensor, length: int) -> Tensor:
    """The bound of Zhai et al.: no softmax over this many scores of this norm has less entropy."""
    b = torch.exp(-size * math.sqrt(length / (length - 1)))
    whole = 1 + (length - 1) * b
    return whole.log() + size * math.sqrt(length * (length - 1)) * b / whole


def _entropy(scores: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=scores).entropy()


def entropy_over_bound(seed: int, length: int = 12, rows: int = 4000, share: float = 1.0) -> float:
    """The least distance from the bound of the entropy of random rows of scores, of all sizes up to 20, the row that is
    worst among them. The bound is taken for `share` of the norm of the scores."""
    torch.manual_seed(seed)
    scores = torch.randn(rows, length, dtype=torch.float64)
    scores[0] = _peak(length)
    scores = scores / scores.norm(dim=-1, keepdim=True) * (20 * torch.rand(rows, 1, dtype=torch.float64) + 1e-3)
    return float((_entropy(scores) - _least(share * scores.norm(dim=-1), length)).min())


def tight(seed: int, length: int = 12, peak: bool = True) -> Pair:
    """Entropy and bound of the worst row of scores of some size; without `peak` of a drawn one."""
    torch.manual_seed(seed)
    row = _peak(length) if peak else torch.randn(length, dtype=torch.float64)
    size = 6 * torch.rand((), dtype=torch.float64) + 0.5
    return _entropy(row / row.norm() * size), _least(size, length)


def _peak(length: int) -> Tensor:
    """One score stands out, the sum is 0."""
    row = torch.full((length,), -1.0 / (length - 1), dtype=torch.float64)
    row[0] = 1.0
    return row


def best_pairs(seed: int, side: int = 9, top: int = 7, among: int | None = None) -> Pair:
    """Scores of the best pairs of keys as found by halves, and among all pairs; `among` looks at fewer of each half."""
    torch.manual_seed(seed)
    left, right = torch.randn(2, 5, side, dtype=torch.float64).unbind(0)
    want = product_keys.reference(left, right, top)[0]
    if among is not None:
        left, right = (x.masked_fill(x < x.topk(among, -1).values[:, -1:], -1e3) for x in (left, right))
    return product_keys.halves(left, right, top)[0], want


def corner_share(seed: int, bits: int = 6, slope: float = 1.0) -> Pair:
    """The share of the corner that is hit, and its softmax among all 2^bits corners, of inputs times `slope`."""
    torch.manual_seed(seed)
    x = torch.randn(20, bits, dtype=torch.float64)
    share, row = corners(x, 1 << torch.arange(bits))
    signs = 2.0 * ((torch.arange(1 << bits)[:, None] >> torch.arange(bits)) & 1) - 1
    every = (slope * x @ signs.double().t()).softmax(-1)
    return share, every.gather(-1, row)


def becomes_relu(seed: int, square: float = 0.0) -> Pair:
    """The polynomial network with coefficients (0, 1, `square`), and the plain one with ReLU on the same maps."""
    torch.manual_seed(seed)
    part = config("channels", {"use": "polynomial", "hidden": 12, "order": 2}).build(6).double()
    plain = config("channels", {"use": "mlp", "hidden": 12, "activation": "relu", "bias": False}).build(6).double()
    with torch.no_grad():
        part.coefficients.copy_(torch.tensor([0, 1, square]))
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if k != "coefficients"})
    x, at = torch.randn(2, 5, 6, dtype=torch.float64), Layout.dense(2, 5)
    return part(x, at), plain(x, at)


def closed_gate(seed: int, model: Mapping[str, Any], start: float = 60.0) -> Pair:
    """The hidden vectors of a new model whose gates begin this far closed, and its embedded input, both normalised."""
    task = registry.task({"use": "text", "length": 32})
    change = Change(model={"residual": {"use": "gru", "start": start}})
    made = build(spec_of(model, change, task.ends()), seed=seed).double().eval()
    x = task.test(torch.Generator().manual_seed(seed), 4).x
    with torch.no_grad():
        h, at = made.embed(x, Layout.dense(*x.shape))
        assert made.trunk.final is not None
        return made.hidden(x)[0], made.trunk.final(h, at)


def grown(seed: int, model: Mapping[str, Any], hold: bool = True) -> Pair:
    """Answers of a new model, and of the one with twice the learned tokens that it grows into."""
    task = registry.task({"use": "text", "length": 32})
    made = build(spec_of(model, Change(), task.ends()), seed=seed).double().eval()
    x = task.test(torch.Generator().manual_seed(seed), 4).x
    with torch.no_grad():
        return grow(made, 2, seed, hold)(x), made(x)


def after_growing(seed: int, model: Mapping[str, Any], small: int, large: int, grows: bool = True) -> float:
    """Bits per byte of text after `small` steps, growth by 2 and `large` steps more, or of the large one from scratch."""
    task = registry.task({"use": "text", "length": 64})
    made = build(spec_of(model, Change(), task.ends()), seed=seed)
    if grows:
        run.train_on(made, task, seed, Train(steps=small, batch=32, rate=5e-3))
        made = grow(made, 2, seed)
    else:
        made = build(grow(made, 2, seed).spec, seed=seed)
    return run.train_on(made, task, seed, Train(steps=large, batch=32, rate=5e-3)).measure


def least_entropy(seed: int, model: Mapping[str, Any], steps: int, rate: float) -> float:
    """Nats: the mean entropy of the weights over queries, of the head where it is lowest, after training without a warm-up."""
    task = registry.task({"use": "text", "length": 64})
    spec = spec_of(model, Change(), task.ends())
    done = run.train_once(spec, task, seed, Train(steps=steps, batch=32, rate=rate, warmup=0))
    batch = task.test(torch.Generator().manual_seed(seed), 32)
    each = [torch.special.entr(s.weight).sum(-1).mean((0, 2)) for s in mimic.seen(done.model, batch)]
    return float(torch.cat(each).min())


def averages(seed: int, model: Mapping[str, Any], even: bool = False) -> Pair:
    """Answers of a new model with averages over depth, and of the plain one with the same weights."""
    task = registry.task({"use": "text", "length": 32})
    made = build(spec_of(model, Change(), task.ends()), seed=seed).double().eval()
    plain = build(spec_of(model, Change(model={"depth": None}), task.ends()), seed=seed).double().eval()
    plain.load_state_dict({k: v for k, v in made.state_dict().items() if not k.startswith("trunk.depth.")})
    if even:
        for alpha in made.trunk.depth.parameters() if made.trunk.depth is not None else ():
            alpha.data.fill_(1 / len(alpha))
    x = task.test(torch.Generator().manual_seed(seed), 4).x
    return made(x), plain(x)


def own_values(seed: int, first: float = 0.0) -> Pair:
    """Attention that adds this share of another layer's values to all of its own, and plain attention."""
    torch.manual_seed(seed)
    tree = {"heads": 2, "causal": True}
    part = config("mixers", {"use": "attention", **tree}).build(8).double()
    part.borrow("values")
    plain = config("mixers", {"use": "attention", **tree}).build(8).double()
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if k != "shares"})
    part.shares.data.copy_(torch.tensor([first, 1.0]))
    x, at = torch.randn(2, 9, 8, dtype=torch.float64), Layout.dense(2, 9)
    return part(x, at, Shared({"values": torch.randn(2, 2, 9, 4, dtype=torch.float64)})), plain(x, at)
