"""A fixed row of numbers per example, which is what plain learners read. Fitted on train, kept as JSON and arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from ..data.base import Examples, Task

WIDEST = 4096  # numbers per row from which sequences are summarised
PIXELS = 32  # images are averaged down to this side
ONE_HOT = 2000  # categories that get a column of their own
GRAMS, GRAM = 20_000, (1, 4)  # most n-grams of tokens that are counted, and their lengths
QUANTILES = (0.1, 0.5, 0.9)

Kind = Literal["flat", "summary", "cells", "one-hot", "grams"]
Rows: TypeAlias = Any  # (N, F) numpy array or, for n-grams, scipy's sparse csr_matrix


class Features(BaseModel):
    """x (N, ...), lengths -> (N, F).

    flat      all numbers side by side, images averaged down; standardised
    summary   of each channel mean, deviation, extremes, quantiles, first and last value, and the length; standardised
    cells     of each table column its number (NaN where missing) or its category id: for trees
    one-hot   the same with a column per category; standardised
    grams     counts of token n-grams, damped and weighed by rarity (tf-idf, Salton and Buckley 1988), of length 1
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    kind: Kind
    arrays: dict[str, np.ndarray] = {}
    grams: tuple[str, ...] = ()  # the vocabulary: strings whose characters are token ids

    @property
    def told(self) -> str:
        """In words for a report."""
        words = {"grams": "n-gram", "flat": "flattened", "summary": "mean-and-spread", "cells": "column"}
        return f"{words.get(self.kind, self.kind)} features"

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Rows:
        if self.kind == "grams":
            return self._weigh(x, lengths)
        rows = self._raw(x, lengths)
        return (rows - self.arrays["mean"]) / self.arrays["std"] if "mean" in self.arrays else rows

    def _raw(self, x: Tensor, lengths: Tensor | None) -> np.ndarray:
        if self.kind == "flat":
            if x.dim() == 4:
                x = F.adaptive_avg_pool2d(x, (min(PIXELS, x.shape[2]), min(PIXELS, x.shape[3])))
            return x.flatten(1).double().numpy()
        if self.kind == "summary":
            sizes = [x.shape[1]] * len(x) if lengths is None else lengths.tolist()
            return np.stack([_summary(row[:n].double().numpy()) for row, n in zip(x, sizes, strict=True)])
        number, category = x.double().numpy()[..., 0], x[..., 1].round().long().numpy()
        if self.kind == "cells":
            unknown = (category > 0) & ~self.arrays["named"].astype(bool)  # a missing number
            return np.where(unknown, np.nan, np.where(category > 0, category, number))
        hot = (category[..., None] == self.arrays["ids"]).any(1)  # ids are unique over the table
        return np.concatenate([number, hot], 1)

    def _weigh(self, x: Tensor, lengths: Tensor | None) -> sparse.csr_matrix:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.preprocessing import normalize

        counter = CountVectorizer(analyzer="char", ngram_range=GRAM, lowercase=False, vocabulary=self.grams)
        counts = sparse.csr_matrix(counter.transform(_strings(x, lengths)), dtype=np.float64)
        counts.data = 1 + np.log(counts.data)
        return normalize(counts.multiply(self.arrays["rarity"]).tocsr())

    def tree(self) -> dict[str, Any]:
        return {"kind": self.kind, "grams": [[ord(c) for c in g] for g in self.grams]}


def load(tree: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Features:
    """The features of a saved baseline; `arrays` are those whose names began with "features."."""
    return Features(kind=tree["kind"], arrays=dict(arrays), grams=tuple("".join(map(chr, g)) for g in tree["grams"]))


def for_lines(task: Task, train: Examples) -> Features:
    """What linear models, neighbours and kernels read."""
    if task.reads == "tokens":
        return _fit_grams(train)
    if task.reads == "values" and task.vocab:
        seen = torch.cat([x[:, 1] for x in train.inputs]).round().long()
        count = torch.bincount(seen[seen > 0], minlength=task.vocab)
        ids = count.argsort(descending=True, stable=True)[: min(ONE_HOT, int((count > 0).sum()))]
        return _standard(Features(kind="one-hot", arrays={"ids": ids.sort().values.numpy()}), train)
    sizes = {x.shape for x in train.inputs}
    fixed = len(sizes) == 1 and (task.reads == "image" or next(iter(sizes)).numel() <= WIDEST)
    return _standard(Features(kind="flat" if fixed else "summary"), train)


def for_trees(task: Task, train: Examples) -> Features:
    """What boosted trees read: table cells as they are, else as the others."""
    if task.reads != "values" or not task.vocab:
        return for_lines(task, train)
    columns = torch.stack(list(train.inputs))[..., 1].round().long()
    named = (columns > 0).any(0) & (columns.amin(0) > 0)  # every cell has an id: no number was ever there
    return Features(kind="cells", arrays={"named": named.numpy().astype(np.uint8)})


def rows(features: Features, examples: Examples, batch: int = 256) -> Rows:
    """The features of a whole split."""
    parts = []
    for i in range(0, len(examples), batch):
        picked = [examples.inputs[j] for j in range(i, min(i + batch, len(examples)))]
        lengths = torch.tensor([len(x) for x in picked])
        same = len({x.shape for x in picked}) == 1
        x = torch.stack(picked) if same else torch.nn.utils.rnn.pad_sequence(picked, batch_first=True)
        parts.append(features(x, None if same else lengths))
    return sparse.vstack(parts).tocsr() if features.kind == "grams" else np.concatenate(parts)


def _standard(features: Features, train: Examples) -> Features:
    raw = rows(features, train)
    mean, std = raw.mean(0), raw.std(0)
    moments = {"mean": mean, "std": np.where(std > 1e-9, std, 1.0)}
    return features.model_copy(update={"arrays": {**features.arrays, **moments}})


def _summary(frames: np.ndarray) -> np.ndarray:
    """(T, C) -> (10 C + 1,)"""
    steps = np.diff(frames, axis=0) if len(frames) > 1 else np.zeros_like(frames)
    of_channels = [
        frames.mean(0), frames.std(0), frames.min(0), frames.max(0), *np.quantile(frames, QUANTILES, axis=0),
        frames[0], frames[-1], np.abs(steps).mean(0),
    ]  # fmt: skip
    return np.concatenate([*of_channels, [len(frames)]])


def _fit_grams(train: Examples) -> Features:
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(analyzer="char", ngram_range=GRAM, lowercase=False, max_features=GRAMS, min_df=2)
    try:
        counts = counter.fit_transform(_strings_of(train.inputs))
    except ValueError:  # no n-gram occurs twice
        counter.set_params(min_df=1)
        counts = counter.fit_transform(_strings_of(train.inputs))
    seen = np.asarray((counts > 0).sum(0)).ravel()
    rarity = np.log((1 + len(train)) / (1 + seen)) + 1
    return Features(kind="grams", arrays={"rarity": rarity}, grams=tuple(counter.get_feature_names_out()))


def _strings(x: Tensor, lengths: Tensor | None) -> list[str]:
    return _strings_of(list(x) if lengths is None else [row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])


def _strings_of(inputs: Sequence[Tensor]) -> list[str]:
    """Token ids as characters, so that n-grams of tokens are substrings. Ids stay below the surrogates."""
    return ["".join(map(chr, ids.tolist())) for ids in inputs]
