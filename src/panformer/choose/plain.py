"""Baselines as plain arrays and text: answered with numpy, saved without pickle, opened like a model.

Every one is called as a model is: x, lengths -> logits (B, K), numbers (B,), forecasts (B, horizon, C) or token
logits (B, T, V).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.numpy import save as pack_arrays
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import InputError, require
from ..model import io
from . import features as feature
from .features import Features
from .ngram import Level, NGram

FLOOR = 1e-4  # the least probability that votes and kernel scores are turned into


@dataclass
class Plain:
    """Fitted numbers of one baseline. `classes` is 0 for numbers and forecasts."""

    kind: ClassVar[str]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    features: Features | None = None
    text: str = ""

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.answer(x, lengths))).float()

    def answer(self, x: Tensor, lengths: Tensor | None) -> np.ndarray:
        raise NotImplementedError

    def rows(self, x: Tensor, lengths: Tensor | None) -> feature.Rows:
        assert self.features is not None
        return self.features(x, lengths)

    def files(self) -> dict[str, bytes]:
        """What goes into a folder beside the preparation and the card."""
        arrays = {f"own.{n}": np.ascontiguousarray(a) for n, a in self.arrays.items()}
        tree: dict[str, Any] = {"kind": self.kind, "options": self.options}
        if self.features is not None:
            arrays.update({f"features.{n}": np.ascontiguousarray(a) for n, a in self.features.arrays.items()})
            tree["features"] = self.features.tree()
        config = {"format": io.FORMAT, "architectures": ["PanformerBaseline"], "baseline": tree}
        found = {"config.json": json.dumps(config).encode(), "model.safetensors": pack_arrays(arrays)}
        return {**found, "model.txt": self.text.encode()} if self.text else found


class Constant(Plain):
    """The same answer always: the shares of the classes, or the mean."""

    kind = "constant"

    def answer(self, x, lengths):
        return np.repeat(self.arrays["answer"][None], len(x), 0)


class Linear(Plain):
    """w f + b: logits of a logistic regression, or the number of a ridge regression."""

    kind = "linear"

    def answer(self, x, lengths):
        return self.rows(x, lengths) @ self.arrays["weight"] + self.arrays["bias"]


class Nearest(Plain):
    """The mean answer of the k nearest training rows; logits are logarithms of the shares of their votes."""

    kind = "nearest"

    def answer(self, x, lengths):
        apart = _apart(self.rows(x, lengths), self.arrays["rows"])
        near = np.argpartition(apart, self.options["k"] - 1, 1)[:, : self.options["k"]]
        found = self.arrays["answers"][near].mean(1)
        return np.log(np.maximum(found, FLOOR)) if found.ndim == 2 else found


class Kernel(Plain):
    """sum_i a_i exp(-gamma |f - f_i|^2): kernel ridge regression, for classes on their indicators (LS-SVM)."""

    kind = "kernel"

    def answer(self, x, lengths):
        near = np.exp(-self.options["gamma"] * _apart(self.rows(x, lengths), self.arrays["rows"]))
        found = near @ self.arrays["weight"] + self.arrays["bias"]
        return self.options["sharp"] * found if found.ndim == 2 else found


class Trees(Plain):
    """Gradient boosted trees, as LightGBM writes them."""

    kind = "trees"

    def answer(self, x, lengths):
        if not hasattr(self, "_booster"):
            self._booster = require("lightgbm", "choose").Booster(model_str=self.text)
        found = self._booster.predict(self.rows(x, lengths), raw_score=True, num_threads=torch.get_num_threads())
        if not self.options["classes"]:
            return found
        return found if found.ndim == 2 else np.stack([np.zeros_like(found), found], 1)  # two classes: one score


class Grams(Plain):
    """Interpolated n-gram counts."""

    kind = "ngram"

    def answer(self, x, lengths):
        return self.model(x).numpy()

    @property
    def model(self) -> NGram:
        if not hasattr(self, "_model"):
            parts = ("keys", "start", "words", "counts")
            levels = [Level(*(self.arrays[f"{n}.{p}"] for p in parts)) for n in range(self.options["order"])]
            self._model = NGram(self.options["vocab"], levels)
        return self._model


class Naive(Plain):
    """What was seen one season before; with a season of 1 the last value. (T, C) -> (horizon, C)."""

    kind = "naive"

    def answer(self, x, lengths):
        season, horizon = self.options["season"], self.options["horizon"]
        back = np.arange(horizon) % season - season
        return x.numpy()[:, back]


class Lines(Plain):
    """last + w (past - last) + b, the same w for every channel: a linear forecast. Zeng et al. 2022 (NLinear)."""

    kind = "lines"

    def answer(self, x, lengths):
        past = x.double().numpy()
        last = past[:, -1:]
        ahead = np.einsum("btc,th->bhc", past - last, self.arrays["weight"])
        return ahead + self.arrays["bias"][:, None] + last


KINDS: dict[str, type[Plain]] = {
    c.kind: c for c in (Constant, Linear, Nearest, Kernel, Trees, Grams, Naive, Lines)
}  # fmt: skip


def load(folder: Path) -> Plain:
    """A saved baseline, after checking every file."""
    io.verify(folder)
    tree = io.read_json(folder / "config.json")["baseline"]
    if tree.get("kind") not in KINDS:
        raise InputError(f"{folder}/config.json: baseline {tree.get('kind')!r} is none of {', '.join(KINDS)}")
    arrays = {n: t.numpy() for n, t in load_file(folder / "model.safetensors").items()}
    own, of_features = ({n[len(p) :]: a for n, a in arrays.items() if n.startswith(p)} for p in ("own.", "features."))
    features = feature.load(tree["features"], of_features) if "features" in tree else None
    text = (folder / "model.txt").read_text() if (folder / "model.txt").is_file() else ""
    return KINDS[tree["kind"]](own, tree["options"], features, text)


def _apart(a: feature.Rows, b: np.ndarray) -> np.ndarray:
    """(N, M) squared distances."""
    a = a.toarray() if not isinstance(a, np.ndarray) else a
    return np.maximum((a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1), 0)
