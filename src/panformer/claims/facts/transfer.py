"""Pre-train on text without labels, then fine-tune on few labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...papers.schema import Change, Train
from ...train import loop
from .. import registry, run
from ..arms import merge, spec_of
from ..tasks._base import Feed


def accuracy(
    seed: int,
    model: Mapping[str, Any],
    pretrain: str,
    steps: int,
    tune: int,
    examples: int = 96,
    classes: int = 6,
    length: int = 96,
) -> float:
    """Which package is this code from, after fine-tuning on `examples` labels: share of right answers.

    `pretrain` is `masked` (the model sees both sides), `causal` (left to right, as a language model, also when
    fine-tuned) or `none`. Everything but the head is carried over and trained on. Devlin et al. 2019.
    """
    task = registry.task({"use": "sections", "classes": classes, "length": length, "examples": examples})
    change = Change(model={"causal": pretrain == "causal"})
    spec = spec_of(model, change, task.ends())
    tuned = run.build(spec, seed=seed)
    if pretrain != "none":
        text = registry.task({"use": "text", "form": pretrain, "source": "code", "length": length})
        done = run.train_once(
            spec_of(merge(model, {"head": None}), change, text.ends()), text, seed, Train(steps=steps)
        )
        kept = {n: t for n, t in done.model.state_dict().items() if not n.startswith("head.")}
        missing = tuned.load_state_dict(kept, strict=False)
        assert not missing.unexpected_keys and all(n.startswith("head.") for n in missing.missing_keys)
    how = loop.Train(steps=tune, batch=16, rate=1e-3, warmup=0.1, decay=0.0, seed=seed)
    with torch.random.fork_rng(devices=[]):
        loop.fit(tuned, task.goal, Feed(task, 16, torch.Generator().manual_seed(20_000 + seed)), how)
    return task.measure(tuned, seed)
