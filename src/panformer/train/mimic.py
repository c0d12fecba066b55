"""Linear attention in place of a trained model's softmax, and feature maps that learn to mimic its attention maps.

The maps q, k, v, o and everything else are copied; what is learned are the feature maps alone, on the inputs that the
trained model's own layers see, so that layers learn side by side. Zhang et al. 2024, Hedgehog (`likeness`); Liu et al.
2022, EcoFormer (`agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.layout import Layout
from ..core.part import config
from ..core.score import Causal, Same
from ..model.build import build
from ..model.model import Model
from ..ops.attend import split_heads

COPIED = {"heads", "causal", "bias"}  # options of attention that linear attention has too


class Seen(NamedTuple):
    """One layer of the trained model on one batch."""

    q: Tensor  # (B, H, T, E)
    k: Tensor  # (B, H, T, E)
    keep: Tensor  # (B, 1, T, T) bool, what a query may look at
    weight: Tensor  # (B, H, T, T), its softmax


Loss = Callable[[Any, Seen], Tensor]  # of a feature map against what it shall mimic


def linearise(model: Model, feature: str | Mapping[str, Any], seed: int = 0) -> Model:
    """A copy of a model whose every `attention` is a `linear_attention` with this feature; `seed` draws its numbers."""
    tree = model.spec.model_dump(mode="json")
    if not _replace(tree, feature):
        raise InputError("linearise: the model has no mixer `attention`")
    copy = build(tree, seed=seed)
    own, fresh = model.state_dict(), copy.state_dict()
    other = {n for n in fresh if n not in own and ".feature." not in n} | (own.keys() - fresh.keys())
    if other:
        raise InputError(f"linearise: linear attention has no place for {sorted(other)[:3]}")
    copy.load_state_dict({**fresh, **own})
    return copy.train(model.training)


def mimic(
    student: Model, teacher: Model, batches: Iterable[Any], rate: float = 1e-2, loss: Loss | None = None
) -> list[float]:
    """Train the feature maps of a `linearise`d copy, one step on each batch, the rate falling to 0; the losses.

    A batch has x, and lengths or None. Nothing else is changed; maps without parameters are left as they are.
    """
    features = [m.feature for m in _mixers(student, "linear_attention")]
    learned = [p for f in features for p in f.parameters()]
    todo = list(batches)
    losses: list[float] = []
    if not learned:
        return losses
    optimizer = torch.optim.Adam(learned, lr=rate)
    for i, batch in enumerate(todo):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - i / len(todo))
        pairs = zip(features, seen(teacher, batch), strict=True)
        total = torch.stack([(loss or likeness)(f, s) for f, s in pairs]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return losses


def likeness(feature: Any, s: Seen) -> Tensor:
    """Cross-entropy of the feature's normalised weights against the softmax's, per query."""
    own = weights(feature, s)
    return -(s.weight * own.clamp_min(1e-12).log()).sum(-1).sum() / s.weight.sum()


def agreement(feature: Any, s: Seen, share: float = 0.25) -> Tensor:
    """Squared distance of code products from labels: 1 for the largest `share` of a query's weights, -1 for the least.

    What lies between is labelled 0. Codes are relaxed to tanh. The kernel is settled on the first call's queries, keys.
    """
    codes = [torch.tanh(feature.project(z)) for z in (s.q, s.k)]
    order = s.weight.masked_fill(~s.keep, -1).argsort(-1, descending=True).argsort(-1)  # rank, 0 the largest
    count = s.keep.sum(-1, keepdim=True)
    few = (count * share).ceil()
    label = (order < few).float() - ((order >= count - few) & (order < count)).float()
    apart = (codes[0] @ codes[1].mT / codes[0].shape[-1] - label).square() * s.keep
    return apart.sum() / s.keep.sum() / apart.shape[1]


def settle(student: Model, teacher: Model, batch: Any, seed: int = 0) -> None:
    """Draw the support samples of `hashed` maps from the queries and keys of one batch, each as often."""
    rng = torch.Generator().manual_seed(seed)
    for mixer, s in zip(_mixers(student, "linear_attention"), seen(teacher, batch), strict=True):
        real = s.keep.any(-1)[:, 0].flatten().nonzero()[:, 0]
        q, k = (z.transpose(0, 1).flatten(1, 2)[:, real] for z in (s.q, s.k))  # (H, N, E)
        m = mixer.feature.support.shape[1]
        pick = [torch.randperm(len(real), generator=rng)[:n] for n in (m // 2, m - m // 2)]
        mixer.feature.settle(torch.cat([q[:, pick[0]], k[:, pick[1]]], 1), torch.cat([q, k], 1))


def weights(feature: Any, s: Seen) -> Tensor:
    """(B, H, T, T): a feature's normalised weights, 0 where a query may not look."""
    q, k = feature(s.q, s.k)
    weight = (q @ k.mT).masked_fill(~s.keep, 0)
    return weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)


@torch.no_grad()
def seen(teacher: Model, batch: Any) -> list[Seen]:
    """What every attention layer of a trained model computes on a batch, without its gradients."""
    mixers, inputs = _mixers(teacher, "attention"), []
    hooks = [m.register_forward_pre_hook(lambda _m, given: inputs.append(given[:2])) for m in mixers]
    teacher(batch.x, batch.lengths)
    for hook in hooks:
        hook.remove()
    return [_seen(m, *given) for m, given in zip(mixers, inputs, strict=True)]


def _seen(mixer: Any, x: Tensor, at: Layout) -> Seen:
    x = at.clean(x)
    q, k = (split_heads(f(x), mixer.heads) for f in (mixer.q, mixer.k))
    keep = (Same() & Causal() if mixer.causal else Same()).keep(at, at).expand(at.batch, -1, -1, -1)
    score = (q @ k.mT * mixer.scale).masked_fill(~keep, -torch.inf)
    return Seen(q, k, keep, score.softmax(-1).masked_fill(~keep, 0))  # a query at padding looks at nothing


def _mixers(model: Model, use: str) -> list[Any]:
    return [layer.mixer for layer in model.trunk.each() if layer.mixer is not None and layer.mixer.use() == use]


def _replace(node: Any, feature: str | Mapping[str, Any]) -> int:
    """Put linear attention where attention stands in a spec's tree; how many times."""
    if isinstance(node, list):
        return sum(_replace(n, feature) for n in node)
    if not isinstance(node, dict):
        return 0
    found = 0
    for key, value in node.items():
        if key == "mixer" and isinstance(value, dict) and value.get("use") == "attention":
            node[key] = _linear(value, feature)
            found += 1
        else:
            found += _replace(value, feature)
    return found


def _linear(tree: dict[str, Any], feature: str | Mapping[str, Any]) -> dict[str, Any]:
    plain = config("mixers", "attention").dump()
    other = [k for k, v in tree.items() if k not in COPIED | {"use", "dropout"} and v != plain[k]]
    if other:
        raise InputError(f"linearise: linear attention has no option {other[0]!r} of attention")
    return {**{k: tree[k] for k in COPIED}, "use": "linear_attention", "feature": feature}
