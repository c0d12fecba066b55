"""y_i = sum_j exp(u_i - v_j) (q_i . k_j) value_j: attention without softmax, from sums of k value' alone.

Katharopoulos et al. 2020, Transformers are RNNs; with decay Sun et al. 2023, Retentive network. The sums are
not normalised: a mixer that wants the average gives the values one more column of ones and divides.
`decay` is what `Score.log_decay` returns: (u, v), each (B|1, H|1, T). In a wider type than the tokens it keeps
long distances exact: only differences are rounded to theirs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.layout import Layout
from .backend import Operator
from .check import Draw, mixed
from .kernels.linear_attention_blocks import BLOCKS, BLOCKS_CHUNK

Decay = tuple[Tensor, Tensor]


def reference(q: Tensor, k: Tensor, v: Tensor, at: Layout, causal: bool, decay: Decay | None) -> Tensor:
    """q, k (B, H|1, T, E), v (B, H, T, V) -> (B, H, T, V), over the sequence of each token, by the T x T matrix."""
    same = (at.ordinal[:, None, :, None] == at.ordinal[:, None, None, :]) & at.valid[:, None, :, None]
    return _weigh(q, k, same.tril() if causal else same, decay) @ v


def traced(q: Tensor, k: Tensor, v: Tensor, at: Layout, causal: bool, decay: Decay | None) -> Tensor:
    """`reference` without the matrix where that is possible: each row starts with its one sequence."""
    if causal or decay is not None:
        return reference(q, k, v, at, causal, decay)
    k = k.masked_fill(~at.valid[:, None, :, None], 0)
    return q @ (k.mT @ v)


def reference_chunk(
    q: Tensor, k: Tensor, v: Tensor, at: Layout, decay: Decay | None, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The causal form for the next tokens of one sequence per row, padding anywhere.

    state: (S (B, H, E, V), r (B, H)), with S = sum_j exp(r - v_j) k_j value_j'. Without decay r stays 0. S keeps its
    type, in which it is summed: `sums` makes an empty one that is wide enough for any number of tokens.
    """
    (s, r), kind = state, v.dtype
    live = at.valid[:, None]
    y = _weigh(q, k, (live[..., None] & live[:, :, None]).tril(), decay) @ v
    k = k.masked_fill(~live[..., None], 0)
    q = q.masked_fill(~live[..., None], 0)
    if decay is None:
        return y + (q.to(s.dtype) @ s).to(kind), (s + _told(k, v, s), r)
    up, down = (d.expand(*v.shape[:2], -1) for d in decay)
    now = latest(up, at.valid, r)
    y = y + torch.exp(torch.where(live, up - r[..., None], 0))[..., None].to(kind) * (q.to(s.dtype) @ s).to(kind)
    k = k * torch.exp(torch.where(live, now[..., None] - down, 0))[..., None].to(k.dtype)
    return y, (torch.exp(now - r)[..., None, None].to(s.dtype) * s + _told(k, v, s), now)


def sums(like: Tensor, *shape: int) -> Tensor:
    """The empty sum of a stream, of float32 at least: in half precision a long sum loses each token that is added."""
    return like.new_zeros(*shape, dtype=torch.promote_types(like.dtype, torch.float32))


def latest(up: Tensor, valid: Tensor, otherwise: Tensor) -> Tensor:
    """(B, H): `up` (B, H, T) at the last valid token of each row, `otherwise` (B, H) where there is none."""
    place = torch.where(valid, torch.arange(valid.shape[1], device=valid.device), -1).amax(1)
    found = up.gather(2, place.clamp_min(0)[:, None, None].expand(*up.shape[:2], 1))[..., 0]
    return torch.where(place[:, None] >= 0, found, otherwise)


def _told(k: Tensor, v: Tensor, s: Tensor) -> Tensor:
    """sum_j k_j v_j' in the type of the sum that it goes to."""
    return k.mT.to(s.dtype) @ v.to(s.dtype)


def _weigh(q: Tensor, k: Tensor, keep: Tensor, decay: Decay | None) -> Tensor:
    weight = (q @ k.mT).masked_fill(~keep, 0)
    if decay is None:
        return weight
    up, down = decay
    return weight * (up[..., :, None] - down[..., None, :]).masked_fill(~keep, -torch.inf).exp().to(weight.dtype)


def sample(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), mixed(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    return q, k, v, at, True, _decay(draw, at.length)


def sample_chunk(device: torch.device, dtype: torch.dtype) -> tuple[Any, ...]:
    draw, at = Draw(device, dtype), Layout.padded([70, 66]).to(device)
    q, k, v = (draw(2, 2, at.length, n) for n in (3, 3, 4))
    wide = torch.promote_types(dtype, torch.float32)
    return q, k, v, at, _decay(draw, at.length), (draw(2, 2, 3, 4).to(wide), draw(2, 2).abs().to(wide))


def _decay(draw: Draw, length: int) -> Decay:
    wide = torch.promote_types(draw.dtype, torch.float32)
    up = -(draw(1, 2, length).to(wide).exp() / 8).cumsum(-1)
    return up, up.clone()


linear_attention = Operator("linear_attention", reference, BLOCKS, traced=traced, sample=sample)
linear_attention_chunk = Operator("linear_attention_chunk", reference_chunk, BLOCKS_CHUNK, sample=sample_chunk)
