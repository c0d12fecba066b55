"""What every candidate has to beat: plain learners, tuned on the same validation split, measured the same way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from ..core.errors import require
from ..data.base import Dataset, Examples
from ..data.raw import counted
from ..measure.quality import Quality, quality
from . import features as feature
from .ngram import fit_ngram
from .plain import Constant, Grams, Kernel, Linear, Lines, Naive, Nearest, Plain, Trees

MOST = {"linear": 50_000, "nearest": 20_000, "kernel": 3_000, "trees": 200_000}  # training rows that each reads
DENSE = 2_000  # n-gram columns that trees and neighbours can bear
ORDER = 6  # longest token sequence that is counted
TRIVIAL = ("majority class", "mean")  # answers that do not look at the input
ROUNDS = 100_000_000  # boosting rounds times rows times classes that are worth waiting for
SHARP = 8.0  # turns kernel scores near 0 and 1 into logits

Fitted = tuple[Plain, str]  # the learner, and what was chosen for it


def names(data: Dataset) -> list[str]:
    """The baselines of this task."""
    return list(_makers(data))


def fit(name: str, data: Dataset, seconds: float = math.inf) -> tuple[Plain, str, Quality]:
    """(the learner tuned on valid, what was chosen, its quality there). After `seconds` no more options are tried."""
    best: tuple[Plain, str, Quality] | None = None
    began = time.perf_counter()
    for plain, note in _makers(data)[name](data):
        if best is not None and time.perf_counter() - began > seconds:
            return best[0], f"{best[1]} (more options were not tried: {seconds:.0f} s were up)", best[2]
        found = quality(plain, data, "valid", batch(data))
        sign = 1 if data.task.lower_is_better else -1
        if best is None or sign * found.measure < sign * best[2].measure:
            best = plain, note, found
    assert best is not None
    return best


def batch(data: Dataset) -> int:
    """Rows answered at a time when a split is measured."""
    return 16 if data.task.kind == "language" else 256


def _makers(data: Dataset) -> dict[str, Callable[[Dataset], Iterator[Fitted]]]:
    """Each yields the learner under several options."""
    if data.task.kind == "language":
        return {"n-gram": _ngram}
    if data.task.kind == "forecasting":
        season = {"seasonal naive": _seasonal} if data.task.season > 1 else {}
        return {"last value": _last, **season, "linear forecast": _lines}
    if data.task.kind == "classification":
        linear = {"majority class": _majority, "logistic regression": _logistic}
    else:
        linear = {"mean": _mean, "ridge regression": _ridge}
    if data.task.reads == "tokens":
        return {**linear, "LightGBM": _trees}
    return {**linear, "nearest neighbours": _nearest, "kernel machine": _kernel, "LightGBM": _trees}


# ---- classes and numbers ------------------------------------------------------------------------------------


def _majority(data: Dataset) -> Iterator[Fitted]:
    shares = np.bincount(_targets(data.train).astype(int), minlength=len(data.task.classes)) + 1.0
    yield Constant({"answer": np.log(shares / shares.sum())}), "the most frequent class"


def _mean(data: Dataset) -> Iterator[Fitted]:
    yield Constant({"answer": np.zeros(())}), "the mean of the training targets"


def _logistic(data: Dataset) -> Iterator[Fitted]:
    linear = require("sklearn.linear_model", "choose")
    train, told = _few(data, "linear")
    features = feature.for_lines(data.task, train)
    x, y = feature.rows(features, train), _targets(train)
    for c in (0.01, 0.1, 1.0, 10.0, 100.0):
        model = linear.LogisticRegression(C=c, max_iter=300).fit(x, y)
        weight, bias = model.coef_.T, model.intercept_
        if weight.shape[1] == 1:  # two classes: one score for the second
            weight, bias = np.hstack([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        yield Linear({"weight": weight, "bias": bias}, features=features), f"{features.told}, C {c:g}{told}"


def _ridge(data: Dataset) -> Iterator[Fitted]:
    linear = require("sklearn.linear_model", "choose")
    train, told = _few(data, "linear")
    features = feature.for_lines(data.task, train)
    x, y = feature.rows(features, train), _targets(train)
    for alpha in (0.1, 1.0, 10.0, 100.0, 1000.0):
        model = linear.Ridge(alpha=alpha).fit(x, y)
        arrays = {"weight": model.coef_, "bias": np.asarray(model.intercept_)}
        yield Linear(arrays, features=features), f"{features.told}, alpha {alpha:g}{told}"


def _nearest(data: Dataset) -> Iterator[Fitted]:
    train, told = _few(data, "nearest")
    features = feature.for_lines(data.task, train)
    x, answers = feature.rows(features, train), _answers(data, train)
    for k in (1, 3, 5, 9, 15):
        if k <= len(train):
            arrays = {"rows": x, "answers": answers}
            yield Nearest(arrays, {"k": k}, features), f"{features.told}, {counted(k, 'neighbour')}{told}"


def _kernel(data: Dataset) -> Iterator[Fitted]:
    ridge = require("sklearn.kernel_ridge", "choose")
    train, told = _few(data, "kernel")
    features = feature.for_lines(data.task, train)
    x, answers = feature.rows(features, train), _answers(data, train)
    middle = answers.mean(0)
    spread = x.var(0).sum()
    for gamma in (0.1 / spread, 0.5 / spread, 2 / spread):
        for alpha in (0.01, 0.3):
            model = ridge.KernelRidge(kernel="rbf", gamma=gamma, alpha=alpha).fit(x, answers - middle)
            arrays = {"rows": x, "weight": model.dual_coef_, "bias": middle}
            note = f"RBF kernel ridge on {features.told}, gamma {gamma:.2g}, alpha {alpha:g}{told}"
            yield Kernel(arrays, {"gamma": float(gamma), "sharp": SHARP}, features), note


def _trees(data: Dataset) -> Iterator[Fitted]:
    lightgbm = require("lightgbm", "choose")
    train, told = _few(data, "trees")
    features = feature.for_trees(data.task, train)
    if features.kind == "grams":
        features = _rarest_out(features)
    named = np.flatnonzero(features.arrays["named"]).tolist() if features.kind == "cells" else []
    classes = len(data.task.classes)
    goal = (
        {"objective": "multiclass", "num_class": classes}
        if classes > 2
        else {"objective": "binary" if classes else "l2"}
    )
    sets = [
        lightgbm.Dataset(feature.rows(features, part), _targets(part), categorical_feature=named, free_raw_data=False)
        for part in (train, data.valid)
    ]
    rounds = max(20, min(300, ROUNDS // (len(train) * max(1, classes))))
    for leaves in (7, 31):
        options = {
            **goal, "num_leaves": leaves, "learning_rate": 0.1, "max_bin": 63, "feature_fraction": 0.5,
            "min_data_in_leaf": max(1, min(20, len(train) // 20)), "seed": 0, "deterministic": True,
            "force_row_wise": True, "verbose": -1, "num_threads": torch.get_num_threads(),
        }  # fmt: skip
        model = lightgbm.train(
            options, sets[0], rounds, [sets[1]], callbacks=[lightgbm.early_stopping(10, verbose=False)]
        )
        text = model.model_to_string(num_iteration=model.best_iteration)
        note = f"{features.told}, {counted(model.best_iteration, 'round')} of {leaves} leaves{told}"
        yield Trees({}, {"classes": classes}, features, text), note


def _rarest_out(features: feature.Features) -> feature.Features:
    """The most frequent n-grams only."""
    keep = np.sort(np.argsort(features.arrays["rarity"], kind="stable")[:DENSE])
    arrays = {"rarity": features.arrays["rarity"][keep]}
    return features.model_copy(update={"arrays": arrays, "grams": tuple(features.grams[i] for i in keep)})


def _few(data: Dataset, kind: str) -> tuple[Examples, str]:
    """At most as many training rows as this learner can bear, drawn with a fixed seed, and a word about it."""
    train, most = data.train, MOST[kind]
    if len(train) <= most:
        return train, ""
    rows = np.sort(np.random.default_rng(0).choice(len(train), most, replace=False)).tolist()
    assert train.targets is not None
    picked = Examples(
        [train.inputs[i] for i in rows], [train.targets[i] for i in rows], [train.source[i] for i in rows]
    )
    return picked, f", {most:,} of {len(train):,} training rows"


def _targets(examples: Examples) -> ndarray:
    assert examples.targets is not None
    return torch.stack(list(examples.targets)).double().numpy()


def _answers(data: Dataset, examples: Examples) -> ndarray:
    """Class indicators (N, K), or numbers (N,)."""
    y = _targets(examples)
    return np.eye(len(data.task.classes))[y.astype(int)] if data.task.classes else y


# ---- series and text ----------------------------------------------------------------------------------------


def _last(data: Dataset) -> Iterator[Fitted]:
    yield Naive(options={"season": 1, "horizon": data.task.horizon}), "the last value"


def _seasonal(data: Dataset) -> Iterator[Fitted]:
    season = data.task.season
    if season <= data.task.max_length:
        yield Naive(options={"season": season, "horizon": data.task.horizon}), f"the value one season ({season}) before"


def _lines(data: Dataset) -> Iterator[Fitted]:
    """Least squares on the past of each channel, less its last value, with a penalty."""
    past, goal = (torch.stack(list(part)).double().numpy() for part in (data.train.inputs, data.train.targets or ()))
    last = past[:, -1:]
    x = (past - last).transpose(0, 2, 1).reshape(-1, past.shape[1])
    y = (goal - last).transpose(0, 2, 1).reshape(-1, goal.shape[1])
    middle = y.mean(0), x.mean(0)
    moments, cross = (x - middle[1]).T @ (x - middle[1]) / len(x), (x - middle[1]).T @ (y - middle[0]) / len(x)
    for alpha in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        weight = np.linalg.solve(moments + alpha * np.eye(len(moments)), cross)
        yield (
            Lines({"weight": weight, "bias": middle[0] - middle[1] @ weight}),
            f"lookback {past.shape[1]}, alpha {alpha:g}",
        )


def _ngram(data: Dataset) -> Iterator[Fitted]:
    whole = fit_ngram(list(data.train.inputs), data.task.vocab, ORDER)
    nats = sum(whole.nats(document.numpy()) for document in data.valid.inputs if len(document) > 1)
    model = whole.cut(int(np.argmin(nats)) + 1)
    arrays: dict[str, Any] = {
        f"{n}.{part}": getattr(level, part)
        for n, level in enumerate(model.levels)
        for part in ("keys", "start", "words", "counts")
    }
    yield Grams(arrays, {"vocab": model.vocab, "order": model.order}), f"order {model.order}, Witten-Bell"
