"""Any set that `open_data` reads as a task: trained on its training split, measured on the whole of its test split.

Ends, objective and measure are those of `panformer choose`: accuracy, RMSE in units of the target, MASE or bits per
byte. `choose` searches for the best model of such data; here given models are compared on it. `length` cuts inputs
of the set: tokens or frames read of each, the window of a text, or the steps that a forecast looks back.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from pydantic import Field

from ...choose import forms
from ...core.errors import InputError
from ...data.base import Dataset
from ...data.batch import Batches
from ...data.open import open_data
from ...measure.quality import quality, window
from ._base import Batch, Options, Task, draw

WINDOW = 128  # tokens of a text that are read at a time, by default


class FromData(Task):
    class Config(Options):
        data: str = Field("digits", min_length=1, description="a built-in set, or a file or folder")
        target: str | None = Field(None, description="the column to foretell, where data has several")
        form: str | None = Field(None, description="how the data becomes tokens; by default the first there is")
        length: int | None = Field(None, ge=2)
        horizon: int | None = Field(None, gt=0, description="steps that a forecast reaches ahead")

    def __init__(self, config: Config) -> None:
        c = config
        self.set = _open(c.data, c.target, c.length, c.horizon)
        known = forms.forms(self.set.task)
        if c.form not in (None, *known):
            raise InputError(f"dataset: {c.data} has no form {c.form!r}; known: {', '.join(known)}")
        self.form = known[c.form or next(iter(known))]
        super().__init__(config)
        self.lower_is_better = self.set.task.lower_is_better
        self.tests = len(self.set.test)
        self.feed = Batches(self.set.train, self.set.task, 1, tokens=window(self.set.task))

    def ends(self):
        causal = self.set.task.kind == "language"
        return {"causal": causal, "embed": dict(self.form.embed), "head": dict(self.form.head)}

    def objective(self):
        return forms.objective(self.set.task)

    def batch(self, rng, size):
        return self._take(self.feed, rng, size)

    def test(self, rng, size):
        return self._take(Batches(self.set.test, self.set.task, 1, tokens=window(self.set.task)), rng, size)

    def _take(self, feed: Batches, rng: torch.Generator, size: int) -> Batch:
        found = feed.batch(draw(rng, 0, len(feed), size).tolist())
        return Batch(found.x, found.lengths, found.y)

    def measure(self, model, seed, size=64):
        """Over the whole test split, the same for every seed."""
        return quality(model, self.set, "test", size).measure

    @property
    def resolution(self):
        return 1.0 / self.tests if self.set.task.kind == "classification" else 0.0


@cache
def _open(name: str, target: str | None, length: int | None, horizon: int | None) -> Dataset:
    data = open_data(name, target=target, horizon=horizon)
    kind = data.task.kind
    if kind == "language":
        return replace(data, task=replace(data.task, max_length=min(length or WINDOW, data.task.max_length)))
    if length is None:
        return data
    if kind == "forecasting":
        return open_data(name, target=target, horizon=horizon, lookback=length)
    return open_data(name, target=target, horizon=horizon, max_length=length)
