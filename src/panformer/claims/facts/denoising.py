"""A denoiser of digits whose attention is replaced and tuned for a few steps, and what its attention weights are like."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.families import Mixer
from ...model.build import build
from ...ops.attend import split_heads
from ..tasks.digits import _load

Arm = Literal["both", "sparse", "linear", "whole"]
SIDE = 16  # pixels
MIXERS = {
    "both": {"use": "sparse_linear_attention", "heads": 4, "critical": 1, "skipped": 0.1},
    "sparse": {"use": "sparse_linear_attention", "heads": 4, "critical": 1, "skipped": 1.0},
    "linear": {"use": "sparse_linear_attention", "heads": 4, "critical": 0, "skipped": 0.0},
    "whole": {"use": "attention", "heads": 4},
}


def loss(seed: int, arm: Arm, steps: int = 300, tune: int = 100) -> float:
    """Mean squared error of the flow from noise to held-out digits of 16 x 16 pixels, every pixel a token.

    A transformer with whole attention is trained, its attention replaced, all weights tuned. `both` attends to 1 block
    of 16 tokens in 16 and adds the linear branch over all but the last tenth, `sparse` has no linear branch, `linear`
    no attended block. Lipman et al. 2022 for the flow, Zhang et al. 2025 for the arms.
    """
    model = build(_spec(arm), seed=seed)
    missing, unknown = model.load_state_dict(_trained(seed, steps), strict=False)
    assert not unknown and all(".join." in name for name in missing)
    _train(model, seed + 1_000, tune, 1e-3)
    return _measure(model)


def stable_rank(seed: int, part: Literal["large", "small"], steps: int = 300, share: float = 0.0625) -> float:
    """|A|_F^2 / |A|_2^2 of the largest `share` of the weights of each softmax matrix, or of all others; the mean."""
    model = build(_spec("whole"), seed=seed)
    model.load_state_dict(_trained(seed, steps))
    told, layers = [], [m for m in model.modules() if isinstance(m, Mixer)]
    hooks = [m.register_forward_pre_hook(lambda m, args: told.append(_ranks(m, args[0], part, share))) for m in layers]
    with torch.no_grad():
        model.eval()(_noised(8, torch.Generator().manual_seed(seed), True)[0])
    for hook in hooks:
        hook.remove()
    return float(torch.stack(told).mean())


def _ranks(mixer: Any, x: Tensor, part: str, share: float) -> Tensor:
    q, k = (split_heads(m(x), mixer.heads) for m in (mixer.q, mixer.k))
    a = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    flat = a.flatten(2)
    least = flat.topk(round(share * flat.shape[-1]), -1).values[..., -1, None, None]
    a = torch.where((a >= least) == (part == "large"), a, 0)
    return (a.flatten(2).square().sum(-1) / torch.linalg.matrix_norm(a, 2).square()).mean()


def _spec(arm: str) -> dict[str, Any]:
    layer = {"mixer": MIXERS[arm], "channel": "mlp"}
    return {
        "width": 32, "position": {"use": "learned_grid", "grid": [SIDE, SIDE]}, "schedule": [{"repeat": 2, **layer}],
        "embed": {"use": "patches", "size": 1, "channels": 2}, "head": {"use": "values", "outputs": 1},
    }  # fmt: skip


@cache
def _trained(seed: int, steps: int) -> dict[str, Tensor]:
    model = build(_spec("whole"), seed=seed)
    _train(model, seed, steps, 3e-3)
    return {name: t.detach().clone() for name, t in model.state_dict().items()}


def _train(model: Any, seed: int, steps: int, rate: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    model.train()
    for _ in range(steps):
        x, flow = _noised(8, rng, False)
        optimiser.zero_grad()
        F.mse_loss(model(x), flow).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        plan.step()


@torch.no_grad()
def _measure(model: Any) -> float:
    model.eval()
    rng = torch.Generator().manual_seed(9)
    pairs = [_noised(64, rng, True) for _ in range(4)]
    return float(torch.stack([F.mse_loss(model(x), flow) for x, flow in pairs]).mean())


def _noised(size: int, rng: torch.Generator, test: bool) -> tuple[Tensor, Tensor]:
    """(images (B, 2, 16, 16) of noised pixels and the time, flow (B, 256, 1)), x_t = (1 - t) x + t noise."""
    pixels, _ = _load()
    pool = ((torch.arange(len(pixels)) % 5 == 0) == test).nonzero()[:, 0]
    x = pixels[pool[torch.randint(len(pool), (size,), generator=rng)]].view(-1, 1, 8, 8).float() / 8 - 1
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)
    noise, t = torch.randn(x.shape, generator=rng), torch.rand(size, 1, 1, 1, generator=rng)
    seen = torch.cat([(1 - t) * x + t * noise, t.expand_as(x)], 1)
    return seen, (noise - x).flatten(2).mT
