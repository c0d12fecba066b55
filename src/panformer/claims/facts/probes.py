"""What hidden states tell: read by a small network trained on them while the model stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of


def position_error(
    seed: int, model: Mapping[str, Any], form: str, steps: int, length: int = 64, layer: int = -1
) -> float:
    """Error of a probe that reads a token's position from a layer's output, over the error of a constant guess.

    The model is first trained on text as `form` says (causal or masked). The probe, one hidden layer, is fitted on
    one half of some windows and told on the other. 1 means that nothing of position is there. Haviv et al. 2022.
    """
    task = registry.task({"use": "text", "form": form, "length": length})
    spec = spec_of(model, Change(), task.ends())
    done = run.train_once(spec, task, seed, Train(steps=steps, batch=32))
    hidden = _hidden(done.model, task.batch(torch.Generator().manual_seed(seed), 96).x, layer)  # (96, T, D)
    place = torch.arange(length).expand(len(hidden), length).float() / length
    half = len(hidden) // 2
    probe = _fit(hidden[:half].flatten(0, 1), place[:half].flatten(), seed)
    with torch.no_grad():
        error = (probe(hidden[half:].flatten(0, 1))[:, 0] - place[half:].flatten()).abs().mean()
    guess = (place[half:] - place.median()).abs().mean()
    return float(error / guess)


@torch.no_grad()
def _hidden(model: Any, x: Tensor, layer: int) -> Tensor:
    """The output of one layer, standardised."""
    kept: list[Tensor] = []
    hook = model.trunk.layers[layer].register_forward_hook(lambda _m, _i, out: kept.append(out))
    model.eval()
    model(x)
    hook.remove()
    h = kept[0]
    return (h - h.mean((0, 1))) / (h.std((0, 1)) + 1e-6)


def _fit(x: Tensor, y: Tensor, seed: int, steps: int = 400) -> nn.Module:
    """A two-layer network fitted by absolute error. x (N, D), y (N,)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 1))
        optimiser = torch.optim.AdamW(probe.parameters(), lr=3e-3)
        for _ in range(steps):
            pick = torch.randint(0, len(x), (256,))
            loss = (probe(x[pick])[:, 0] - y[pick]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return probe.eval()
