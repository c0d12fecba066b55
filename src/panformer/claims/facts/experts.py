"""Facts about mixtures of experts in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of


def load(seed: int, model: Mapping[str, Any], steps: int, balance: float = 0.01, length: int = 64) -> float:
    """Entropy of the share of tokens that each expert is chosen for on unseen text, over log(experts); worst layer.

    1 is an even load, 0 one expert for all. The model is trained on text with this coefficient of the balance loss.
    """
    task = registry.task({"use": "text", "length": length})
    spec = spec_of(model, Change(layers={"channel": {"balance": balance}}), task.ends())
    done = run.train_once(spec, task, seed, Train(steps=steps))
    batch = task.test(torch.Generator().manual_seed(seed), 64)
    with torch.no_grad():
        counts: Tensor = done.model.run(batch.x).stats["expert_load"]
    channel: Any = done.model.trunk.each()[0].channel
    experts = channel.config.experts
    share = counts.view(-1, experts).double()
    share = share / share.sum(-1, keepdim=True)
    entropy = -(share * share.clamp(min=1e-12).log()).sum(-1) / torch.tensor(float(experts)).log()
    return float(entropy.min())
