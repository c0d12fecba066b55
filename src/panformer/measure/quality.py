"""How good the answers of a model are, on every example of a split, in the measure of its task.

All four measures are means over examples put through a rising function, so that a measure of any resampled
set of examples follows from sums: accuracy = mean right; RMSE = std sqrt(mean squared error);
MASE = mean over channels of mean absolute error / that of the seasonal naive forecast (Hyndman and Koehler 2006);
bits per byte = nats per token / ln 2 / bytes per token.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import PanformerError
from ..data.base import Dataset, Examples, Task
from ..data.batch import Batches


class Answers(Protocol):
    """A model or a baseline: class logits (B, K), numbers (B,), forecasts (B, horizon, C), token logits (B, T, V)."""

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Scores:
    """What every example adds to a measure. measure = mean over c of scale_c f(sum_e sums_ec / sum_e weights_e)."""

    sums: np.ndarray  # (E, C)
    weights: np.ndarray  # (E,)
    scale: np.ndarray  # (C,)
    root: bool  # f is the square root

    @property
    def measure(self) -> float:
        return float(self.over(np.arange(len(self.weights))))

    def over(self, at: np.ndarray) -> np.ndarray:
        """The measure on examples `at` (..., E), which may repeat."""
        mean = self.sums[at].sum(-2) / self.weights[at].sum(-1)[..., None]  # (..., C)
        return (self.scale * (np.sqrt(mean) if self.root else mean)).mean(-1)

    def on(self, blocks: Sequence[np.ndarray]) -> Scores:
        """The same with every block of examples as one: all that a bootstrap needs."""
        sums, weights = zip(*((self.sums[b].sum(0), self.weights[b].sum()) for b in blocks), strict=True)
        return Scores(np.stack(sums), np.array(weights), self.scale, self.root)

    def tree(self) -> dict[str, Any]:
        """As JSON; `Scores.read` takes it back."""
        return {
            "sums": self.sums.tolist(),
            "weights": self.weights.tolist(),
            "scale": self.scale.tolist(),
            "root": self.root,
        }

    @classmethod
    def read(cls, tree: Mapping[str, Any]) -> Scores:
        return cls(np.array(tree["sums"]), np.array(tree["weights"]), np.array(tree["scale"]), tree["root"])


@dataclass(frozen=True)
class Quality:
    """The measure of a split, what every example adds to it, and further figures for the report."""

    measure: float
    scores: Scores
    further: dict[str, Any]


def quality(model: Answers, data: Dataset, split: str, batch: int = 64) -> Quality:
    """The measure of `model` on a whole split; the batch size changes nothing but rounding and speed.

    Text is read in windows of `task.max_length` ids.
    """
    found, index = _answers(model, getattr(data, split), data.task, batch)
    order = np.argsort(np.concatenate(index), kind="stable")
    parts = {name: np.concatenate([f[name] for f in found])[order] for name in found[0]}
    sums = parts["sum"].reshape(len(order), -1)
    scores = Scores(sums, parts["weight"], _scale(data, split), data.task.kind == "regression")
    if not np.isfinite(scores.measure):
        raise PanformerError(f"{data.name}: answers on the {split} split are not finite")
    return Quality(scores.measure, scores, _further(scores, parts, data))


def window(task: Task) -> int | None:
    """How many ids of a text are read at a time; None where examples are read whole."""
    return task.max_length if task.kind == "language" else None


def _answers(model: Answers, examples: Examples, task: Task, batch: int) -> tuple[list[dict], list[np.ndarray]]:
    found, index = [], []
    training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    with torch.inference_mode():
        for piece in Batches(examples, task, batch, tokens=window(task), shuffle=False):
            out = model(piece.x, piece.lengths)
            found.append({n: v.double().numpy(force=True) for n, v in _each(out, piece, task.kind).items()})
            index.append(piece.index.numpy())
    if isinstance(model, nn.Module):
        model.train(training)
    return found, index


def _each(out: Tensor, batch: Any, kind: str) -> dict[str, Tensor]:
    """Per example: "sum" and "weight" of the measure, and what the further figures need."""
    one = torch.ones(len(batch.x))
    if kind == "classification":
        said, nats = out.argmax(-1), F.cross_entropy(out.float(), batch.y, reduction="none")
        return {"sum": (said == batch.y).float(), "weight": one, "nats": nats, "said": said, "true": batch.y}
    if kind == "regression":
        away = out.float().reshape(-1) - batch.y
        return {"sum": away**2, "weight": one, "away": away.abs(), "true": batch.y}
    if kind == "forecasting":
        away = out.float() - batch.y
        return {"sum": away.abs().mean(1), "weight": one, "square": (away**2).mean((1, 2))}
    length = batch.x.shape[1]
    lengths = torch.full((len(batch.x),), length) if batch.lengths is None else batch.lengths
    real = torch.arange(1, length)[None] < lengths[:, None]
    nats = F.cross_entropy(out[:, :-1].float().mT, batch.x[:, 1:], reduction="none")
    return {"sum": torch.where(real, nats, 0).double().sum(1), "weight": real.sum(1)}


def _scale(data: Dataset, split: str) -> np.ndarray:
    facts, kind = data.facts, data.task.kind
    if kind == "regression":
        return np.array([facts["target_std"]])
    if kind == "forecasting":
        return 1 / np.asarray(facts["naive_mae"])
    if kind == "language":
        return np.array([1 / math.log(2) / facts["bytes_per_token"][split]])
    return np.ones(1)


def _further(scores: Scores, parts: Mapping[str, np.ndarray], data: Dataset) -> dict[str, Any]:
    """Figures beside the measure, each in words a report can print."""
    kind, task = data.task.kind, data.task
    if kind == "classification":
        true, said = parts["true"].astype(int), parts["said"].astype(int)
        recall = {c: float((said[true == k] == k).mean()) for k, c in enumerate(task.classes) if (true == k).any()}
        mixed = [(int(((true == a) & (said == b)).sum()), a, b) for a, b in {*zip(true, said, strict=True)} if a != b]
        return {
            "recall of each class": recall,
            "balanced accuracy": float(np.mean(list(recall.values()))),
            "log loss": float(parts["nats"].mean()),
            "most confused": [
                f"{task.classes[a]} taken for {task.classes[b]}: {n}" for n, a, b in sorted(mixed)[:-6:-1]
            ],
        }
    if kind == "regression":
        spread = ((parts["true"] - parts["true"].mean()) ** 2).sum()
        explained = {"R2": float(1 - parts["sum"].sum() / spread)} if spread > 0 else {}
        return {"mean absolute error": float(parts["away"].mean() * data.facts["target_std"]), **explained}
    if kind == "forecasting":
        each = scores.scale * scores.sums.mean(0)
        return {"MASE of each channel": dict(zip(task.columns, each.tolist(), strict=True))}
    return {"nats per token": float(scores.sums.sum() / scores.weights.sum()), "tokens": int(scores.weights.sum())}
