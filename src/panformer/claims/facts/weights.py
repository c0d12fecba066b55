"""Facts about what turns scores into weights, where that is not softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...core.layout import Layout
from ...papers.schema import Change, Train
from .. import registry, run
from ..arms import spec_of
from .mixers import _mixer

Pair = tuple[Tensor, Tensor]
Tree = Mapping[str, Any]


def softmax(seed: int, normaliser: Tree, width: int = 16, length: int = 37) -> Pair:
    """Causal attention under a normaliser, and under softmax, with the same maps: equal where the two are one."""
    tree = {"use": "attention", "heads": 2, "causal": True}
    part, x = _mixer(seed, {**tree, "normaliser": normaliser}, width, length)
    plain, _ = _mixer(seed, tree, width, length)
    plain.load_state_dict(part.state_dict())
    return part(x, Layout.dense(2, length)), plain(x, Layout.dense(2, length))


def divided(seed: int, alpha: float = 1.0, width: int = 16, length: int = 37, causal: bool = False) -> Pair:
    """ReLU attention over the length to a power, and the answer of the one that divides by nothing, divided so.

    A causal query sees fewer keys than there are, so that with `causal` the two must not be equal.
    """
    tree = {"use": "attention", "heads": 2, "causal": causal}
    by_length, x = _mixer(seed, {**tree, "normaliser": {"use": "relu", "alpha": alpha}}, width, length)
    plain, _ = _mixer(seed, {**tree, "normaliser": {"use": "relu", "alpha": 0.0}}, width, length)
    plain.load_state_dict(by_length.state_dict())
    return by_length(x, Layout.dense(2, length)), plain(x, Layout.dense(2, length)) / length**alpha


def accuracy_lost(seed: int, model: Tree, steps: int, cell: int = 1, alpha: float = 0.0) -> float:
    """How much less accurate on digits the model is when its ReLU attention divides by the length to this power.

    `cell` pixels of each side are averaged into one token.
    """
    task = registry.task({"use": "digits", "form": "pixels", "cell": cell})
    train = Train(steps=steps, batch=32, rate=3e-3)
    other = Change(layers={"mixer": {"normaliser": {"use": "relu", "alpha": alpha}}})
    ours, theirs = (
        run.train_once(spec_of(model, change, task.ends()), task, seed, train).measure for change in (Change(), other)
    )
    return ours - theirs
