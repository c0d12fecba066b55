"""Facts about keys and values that several heads or layers have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ...convert.pool_keys import pool_keys
from ...core.layout import Layout
from ...model.build import build
from ...model.model import Model
from ...papers.schema import Change, Train
from ...train import loop
from .. import registry, run
from ..arms import merge, spec_of
from ..tasks._base import Feed

Pair = tuple[Tensor, Tensor]
Tree = Mapping[str, Any]
VOCAB = 97
ENDS = {"embed": {"use": "tokens", "vocab": VOCAB}, "head": {"use": "lm", "vocab": VOCAB}}


def pieces(seed: int, model: Tree, sizes: Sequence[int] = (3, 1, 7, 2), keep: bool = True) -> Pair:
    """A causal model that reads in pieces of these sizes, and at once, in float64.

    `keep: false` forgets between the pieces, which must not be equal.
    """
    net, x = _language(model, seed), _tokens(seed, sum(sizes))
    stream, out = net.start(2), []
    with torch.no_grad():
        for piece in x.split(list(sizes), 1):
            y, after = net.chunk(piece, stream)
            stream = after if keep else net.start(2)
            out.append(y)
        return torch.cat(out, 1), net(x)


def lent(seed: int, model: Tree, own: bool = False) -> Pair:
    """What the mixer of the last layer answers, and its queries against the keys and values of its lender's maps.

    The lender's are made anew from what the lender read. `own` makes them from what the last layer itself reads,
    which must not be equal. A position turns both.
    """
    net, x = _language(model, seed), _tokens(seed, 11)
    layers = net.trunk.each()
    last, lender = layers[-1].mixer, layers[net.trunk.placed[-1].reads["kv"]].mixer
    read_by: dict[Any, Tensor] = {}
    hooks = [m.register_forward_pre_hook(lambda m, args: read_by.update({m: args[0]})) for m in (last, lender)]
    hooks.append(last.register_forward_hook(lambda m, _, out: read_by.update({"answer": out})))
    with torch.no_grad():
        net(x)
        for hook in hooks:
            hook.remove()
        source = read_by[last if own else lender]
        q, k, v = (
            f(h).unflatten(-1, (-1, last.size)).transpose(1, 2)
            for f, h in ((last.q, read_by[last]), (lender.k, source), (lender.v, source))
        )
        if last.position is not None:
            q, k = (m.position.rotate(h, Layout.dense(2, 11)) for m, h in ((last, q), (lender, k)))
        q = q.unflatten(1, (last.groups, -1))
        score = torch.einsum("bgrte,bgse->bgrts", q, k) * last.size**-0.5
        late = torch.ones(11, 11, dtype=torch.bool).triu(1)
        y = torch.einsum("bgrts,bgse->btgre", score.masked_fill(late, -torch.inf).softmax(-1), v)
        return read_by["answer"], last.o(y.flatten(2))


def cache(seed: int, model: Tree, numbers: int, length: int = 64) -> float:
    """Keys and values that a model in fp32 keeps after `length` tokens, in bytes, over 4 * `numbers` a token."""
    net = _language(model, seed).float()
    with torch.no_grad():
        _, (stream, _) = net.chunk(_tokens(seed, length), net.start(2))
    kept = [t for t in tree_leaves(stream.layers) if t.is_floating_point()]
    return sum(t.numel() * t.element_size() for t in kept) / (2 * length * 4 * numbers)


def merged(seed: int, model: Tree, start: Tree, same: bool = True) -> Pair:
    """The model whose keys and values are pooled from those of `start`, and `start`, where that must not matter:

    merged heads and layers have the same maps, and no layer but the last adds to what the next one reads. `start` is
    laid over the model. `same: false` leaves every head its own maps, which must not be equal.
    """
    net, x = _language(merge(model, start), seed), _tokens(seed, 11)
    first, *_ = layers = net.trunk.each()
    with torch.no_grad():
        for layer in layers[:-1]:
            for weight in (*layer.mixer.o.parameters(), *layer.channel.parameters()):
                weight.zero_()
        for m in (layer.mixer for layer in layers if same):
            m.k.weight.copy_(first.mixer.k.weight[: m.size].repeat(m.groups, 1))
            m.v.weight.copy_(first.mixer.v.weight[: m.size].repeat(m.groups, 1))
        return pool_keys(net, merge(net.spec.dump(), {"schedule": model["schedule"]}))(x), net(x)


def after_pooling(
    seed: int, model: Tree, start: Tree, steps: int, more: int, length: int = 64, task: Tree | None = None
) -> float:
    """What the model measures (bits per byte of text) after: `start` is trained, its keys and values pooled, and then
    it is trained `more` steps. `start` is laid over the model. `task` is another than text."""
    tree = task or {"use": "text", "length": length}
    asked = registry.task(tree)
    spec = spec_of(model, Change(), asked.ends())
    net = pool_keys(trained(seed, json.dumps(merge(spec, start)), steps, json.dumps(tree)), spec)
    how = loop.Train(steps=more, batch=32, rate=2e-3, warmup=0.1, decay=0.0, seed=seed)
    with torch.random.fork_rng(devices=[]):
        loop.fit(net, asked.goal, Feed(asked, 32, torch.Generator().manual_seed(20_000 + seed)), how)
    return asked.measure(net, seed)


@lru_cache(maxsize=16)  # four arms of three seeds and more
def trained(seed: int, spec: str, steps: int, task: str) -> Model:
    """A model to start from, trained once for all arms; nobody may write to it."""
    asked = registry.task(json.loads(task))
    return run.train_once(json.loads(spec), asked, seed, Train(steps=steps, batch=32, rate=5e-3)).model


def _language(model: Tree, seed: int) -> Any:
    return build(spec_of(model, Change(), {"causal": True, **ENDS}), seed=seed).double().eval()


def _tokens(seed: int, length: int) -> Tensor:
    return torch.randint(0, VOCAB, (2, length), generator=torch.Generator().manual_seed(seed))
