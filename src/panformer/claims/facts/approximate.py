"""How near attention from chosen blocks or a sample comes to the whole, on queries and keys of trained models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.families import Mixer
from ...core.layout import Layout
from ...core.part import config
from ...model.build import build
from ...ops.attend import merge_heads, split_heads
from ...ops.hashing import angular_rank, order, planes
from ...ops.regions import cut
from ...papers.schema import Train
from .. import registry, run

Method = Literal["two", "sparse", "window", "svd", "features"]
SIZE = 8  # tokens per block


@torch.no_grad()
def matrix_error(seed: int, method: Method, top: int = 2, steps: int = 500, length: int = 128) -> float:
    """|A - A~| / |A| in the Frobenius norm, A the softmax matrices of the last layer of a masked language model.

    `two` and `sparse` are MRA-2 and MRA-2-s with `top` exact blocks of 8 x 8 for each block of queries in the mean,
    `window` as many nearest keys. Factors of rank r hold 2 r length numbers; `svd` is the best matrix of the rank that
    holds as many as MRA-2, `features` a softmax from as many positive random features (Choromanski et al. 2020).
    """
    q, k, _, exact = _attended(seed, steps, length)
    blocks = -(-length // SIZE)
    rank = (blocks * top * SIZE**2 + blocks**2) // (2 * length)
    if method in ("two", "sparse"):
        near = _multi_resolution(q, k, method == "two", top)
    elif method == "window":
        place = torch.arange(length)
        score = _scores(q, k).masked_fill((place[:, None] - place).abs() > top * SIZE // 2, -torch.inf)
        near = score.softmax(-1)
    elif method == "svd":
        u, s, v = torch.linalg.svd(exact)
        near = (u[..., :rank] * s[..., None, :rank]) @ v[..., :rank, :]
    else:
        near = _features(q, k, rank, seed)
    return float(((exact - near).flatten(2).norm(dim=-1) / exact.flatten(2).norm(dim=-1)).mean())


def _features(q: Tensor, k: Tensor, count: int, seed: int) -> Tensor:
    """(B, H, L, L): a softmax from positive random features, as many as `count`."""
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(count, q.shape[-1], generator=rng, dtype=torch.float64)
    q, k = (z * q.shape[-1] ** -0.25 for z in (q, k))
    q, k = (z @ w.T - z.square().sum(-1, keepdim=True) / 2 for z in (q, k))
    near = (q - q.amax(-1, keepdim=True)).exp() @ (k - k.amax((-1, -2), keepdim=True)).exp().mT
    return near / near.sum(-1, keepdim=True)


def _buckets(q: Tensor, k: Tensor, size: int, seed: int) -> Tensor:
    """(B, H, L, L): a softmax over the keys in the bucket of each query, as KDEformer hashes both, and no others."""
    normals = planes(q.shape[1], q.shape[-1], 7, seed, q)
    real = torch.ones(len(q), 1, q.shape[2], dtype=torch.bool)
    asks, looks = (order(angular_rank(z, normals), real).argsort(-1) // size for z in (q, k))
    return _scores(q, k).masked_fill(asks[..., :, None] != looks[..., None, :], -torch.inf).softmax(-1)


def _multi_resolution(q: Tensor, k: Tensor, rest: bool, top: int) -> Tensor:
    """(B, H, L, L): what the part does to values that are the rows of the unit matrix."""
    batch, heads, length, _ = q.shape
    tree = {"use": "multi_resolution", "heads": heads, "top": top, "size": SIZE, "rest": rest}
    (blocks,) = cut(Layout.dense(batch, length), SIZE).parts
    one = torch.eye(length, dtype=q.dtype).view(-1, SIZE, length).expand(batch, heads, -1, -1, -1)
    q, k = (blocks.take(merge_heads(z), heads) for z in (q, k))
    return config("mixers", tree).build(heads).mix(q, k, one, blocks).flatten(2, 3)


OTHERS = {"buckets": _buckets, "features": _features}


@torch.no_grad()
def output_error(
    seed: int, by: str = "columns", samples: int = 16, steps: int = 500, length: int = 128, draws: int = 8
) -> float:
    """|A v - u| over |A| |v| in the spectral norm, the mean over heads and draws; u is KDEformer's answer.

    Its query sees a bucket of 4 keys and the sample. `by: buckets` has hashing alone, buckets of as many keys
    (Reformer's sparsity), `by: features` as many positive random features (Performer's). Queries, keys and values are those of the last layer of a masked language model. Zandieh et al. 2023.
    """
    return _output_errors(seed, by, [samples], steps, length, draws)[0]


@torch.no_grad()
def error_exponent(seed: int, by: str = "columns", steps: int = 500, length: int = 128, draws: int = 8) -> float:
    """The power of the number of samples, 4 to 32, with which that error goes; -1/2 for independent draws.

    With no steps queries, keys and values are normal, and not those of a model.
    """
    samples = [4, 8, 16, 32]
    errors = _output_errors(seed, by, samples, steps, length, draws)
    x, y = (torch.tensor(z, dtype=torch.float64).log() for z in (samples, errors))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / x.square().sum())


def _output_errors(seed: int, by: str, samples: Sequence[int], steps: int, length: int, draws: int) -> list[float]:
    q, k, v, exact = _attended(seed, steps, length)
    scale = torch.linalg.matrix_norm(exact, 2) * torch.linalg.matrix_norm(v, 2)
    heads, count = q.shape[1], torch.full((len(q),), length)
    out = []
    for m in samples:
        told = []
        for s in range(draws):
            if by in OTHERS:
                near = OTHERS[by](q, k, SIZE // 2 + m, s) @ v
            else:
                tree = {"use": "kde_former", "heads": heads, "bucket": SIZE // 2, "samples": m, "by": by, "seed": s}
                near = config("mixers", tree).build(heads).mix(q, k, v, count)
            told.append((torch.linalg.matrix_norm(exact @ v - near, 2) / scale).mean())
        out.append(float(torch.stack(told).mean()))
    return out


@torch.no_grad()
def _attended(seed: int, steps: int, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(q, k, v (B, H, L, E), softmax matrices (B, H, L, L)) of the last layer, in float64; normal ones at 0 steps."""
    if steps == 0:
        rng = torch.Generator().manual_seed(seed)
        q, k, v = torch.randn(3, 2, 2, length, 16, generator=rng, dtype=torch.float64)
        return q, k, v, _scores(q, k).softmax(-1)
    mixer, x = _language_model(seed, steps, length)
    at = Layout.dense(*x.shape[:2])
    q, k, v = (split_heads(m(x), mixer.heads) for m in (mixer.q, mixer.k, mixer.v))
    q, k = mixer.position.rotate(q, at), mixer.position.rotate(k, at)
    return q, k, v, _scores(q, k).softmax(-1)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.mT * q.shape[-1] ** -0.5


@cache
@torch.enable_grad()
def _language_model(seed: int, steps: int, length: int) -> tuple[Any, Tensor]:
    task = registry.task({"use": "text", "form": "masked", "length": length})
    layer = {"mixer": {"use": "attention", "heads": 4}, "channel": "mlp"}
    spec = {"width": 64, "position": "rope", "schedule": [{"repeat": 2, **layer}], **task.ends()}
    model = run.train_once(spec, task, seed, Train(steps=steps, batch=16)).model.eval()
    kept: list[Tensor] = []
    mixer: Any = [m for m in model.modules() if isinstance(m, Mixer)][-1]
    hook = mixer.register_forward_pre_hook(lambda _m, args: kept.append(args[0]))
    with torch.no_grad():
        model(task.test(torch.Generator().manual_seed(seed), 4).x)
    hook.remove()
    return mixer.double(), kept[0].double()


def accuracy_lost(seed: int, bucket: int = 8, samples: int = 16, by: str = "columns", steps: int = 800) -> float:
    """Share of right answers that a vision transformer for digits loses when KDEformer answers for its attention.

    No weight is trained after the change. An image has 64 tokens.
    """
    task, model, spec, before = _digits(seed, steps)
    tree = {"use": "kde_former", "heads": 4, "bucket": bucket, "samples": samples, "by": by}
    other = build({**spec, "schedule": [{"repeat": 2, "mixer": tree, "channel": "mlp"}]}, seed=0)
    other.load_state_dict(model.state_dict())
    return before - task.measure(other, seed)


@cache
def _digits(seed: int, steps: int) -> tuple[Any, Any, dict[str, Any], float]:
    task = registry.task({"use": "digits", "form": "image"})
    layer = {"mixer": {"use": "attention", "heads": 4}, "channel": "mlp"}
    place = {"use": "learned_grid", "grid": [8, 8]}
    spec = {"width": 32, "position": place, "schedule": [{"repeat": 2, **layer}], **task.ends()}
    done = run.train_once(spec, task, seed, Train(steps=steps, batch=32))
    assert math.isfinite(done.measure)
    return task, done.model, spec, done.measure
