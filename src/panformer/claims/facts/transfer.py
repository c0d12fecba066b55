"""Pre-train on plain sentences, then fine-tune on few labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...papers.schema import Change, Train
from ...train import loop
from .. import registry, run
from ..arms import merge, spec_of
from ..tasks._base import Feed


def accuracy(seed: int, model: Mapping[str, Any], pretrain: str, steps: int, tune: int, examples: int = 192) -> float:
    """Which words of a sentence are out of place, after fine-tuning on `examples` labelled sentences: share of
    right answers (0.79 for one who calls none out of place).

    `pretrain` is `masked` (the model sees both sides), `causal` (left to right, also when fine-tuned) or `none`.
    Everything but the head is carried over, and all is trained on. Devlin et al. 2019.
    """
    task = registry.task({"use": "grammar", "form": "strays", "noise": 0.25, "examples": examples})
    change = Change(model={"causal": pretrain == "causal"})
    tuned = run.build(spec_of(model, change, task.ends()), seed=seed)
    if pretrain != "none":
        plain = registry.task({"use": "grammar", "form": pretrain, "noise": 0.1})
        train = Train(steps=steps, batch=64)
        done = run.train_once(spec_of(merge(model, {"head": None}), change, plain.ends()), plain, seed, train)
        kept = {n: t for n, t in done.model.state_dict().items() if not n.startswith("head.")}
        missing = tuned.load_state_dict(kept, strict=False)
        assert not missing.unexpected_keys and all(n.startswith("head.") for n in missing.missing_keys)
    how = loop.Train(steps=tune, batch=32, rate=1e-3, warmup=0.1, decay=0.0, seed=seed)
    with torch.random.fork_rng(devices=[]):
        loop.fit(tuned, task.goal, Feed(task, 32, torch.Generator().manual_seed(20_000 + seed)), how)
    return task.measure(tuned, seed)
