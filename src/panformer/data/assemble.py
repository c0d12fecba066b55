"""From labelled raw records to a Dataset: inspect, decide the task, split, fit on train, encode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..core.errors import InputError
from . import inspect
from .audio import HIGHEST, log_mel, resample
from .base import Dataset, Examples, Kind, Reads, Task
from .images import common_size
from .prepare import AnyInput, Audio, Classes, Column, Frames, Image, Preparation, Rows, Text, Value, train_bpe
from .raw import Form, Options, Raw, content, fingerprint
from .split import NAMES, SHARE, grouped
from .tables import number, when

READS: dict[Form, Reads] = {
    "text": "tokens", "rows": "values", "frames": "values", "audio": "values", "image": "image",
}  # fmt: skip
BPE_FROM = (512, 200_000)  # auto tokens: BPE when texts average this many bytes and train holds so many in all


def assemble(raw: Raw, opt: Options) -> Dataset:
    """Raw records with labels -> the data set of a classification or regression."""
    opt.refuse(f"{raw.name}: rows with labels", "horizon", "lookback", "season")
    for wish, form in (("image_size", "image"), ("tokens", "text")):
        if raw.form != form:
            opt.refuse(f"{raw.name}: {raw.form}", wish)
    read = len(raw.records)
    inspect.unlabelled(raw)
    kind = _decide(raw, opt)
    _sample(raw, opt)
    keys = [content(r) for r in raw.records]
    if kind == "classification":
        raw.labels = [_name(label) for label in raw.labels]
        kept = inspect.classes(raw, keys)
        raw.keep(kept)
        keys = [keys[i] for i in kept]
    else:
        raw.labels = [number(label) for label in raw.labels]
        inspect.constant(raw)
        inspect.outliers(raw.labels, raw.target, lambda i: raw.source[i], raw.notes)
    inspect.copies(raw, keys)
    split = _split(raw, keys, kind, opt)
    given = fit_input(raw, split[0], opt)
    output = Classes(labels=_ordered(raw.labels)) if kind == "classification" else _fit_value(raw.labels, split[0])
    inputs = _encode(raw, given)
    targets = [output.target(label) for label in raw.labels]
    task = _task(kind, raw, given, output, inputs)
    _record(raw, read, split, opt, task, output)
    train, valid, test = (
        Examples([inputs[i] for i in rows], [targets[i] for i in rows], [raw.source[i] for i in rows]) for rows in split
    )
    mark = fingerprint([*keys, *map(str, raw.labels)], opt)
    prepare = Preparation(input=given, output=output)
    return Dataset(raw.name, task, train, valid, test, prepare, raw.notes.facts, raw.notes.refused, mark)


def _decide(raw: Raw, opt: Options) -> Kind:
    try:
        kind, why = inspect.decide(raw.labels, "classification" if raw.classed else opt.task, raw.target)
    except InputError as fault:
        raise InputError(f"{raw.name}: {fault}") from None
    if not raw.classed:
        raw.notes.why.append(why)
    return kind


def _sample(raw: Raw, opt: Options) -> None:
    """A seeded choice of at most `max_rows` rows, in their order."""
    if opt.max_rows is not None and len(raw.records) > opt.max_rows:
        raw.notes.facts["rows_not_sampled"] = len(raw.records) - opt.max_rows
        raw.keep(sorted(np.random.default_rng(opt.seed).choice(len(raw.records), opt.max_rows, replace=False).tolist()))


def _split(raw: Raw, keys: Sequence[str], kind: str, opt: Options) -> list[list[int]]:
    try:
        labels = raw.labels if kind == "classification" else None
        split = _published(raw.held, keys, labels, opt) if raw.held else grouped(keys, labels, opt.seed)
    except InputError as fault:
        raise InputError(f"{raw.name}: {fault}") from None
    seen = [raw.labels[i] for i in split[0]]
    absent = sorted(set(raw.labels) - set(seen)) if kind == "classification" else []
    if absent:  # every copy of its rows carries another label first
        raise InputError(
            f"{raw.name}: class {absent[0]!r} has no row of its own: each is a copy of a row of another class"
        )
    if len(set(seen)) < 2:
        raise InputError(f"{raw.name}: {raw.target} is {seen[0]!r} in every training row; there is nothing to learn")
    return split


def _published(held: list[bool], keys: Sequence[str], labels: list[Any] | None, opt: Options) -> list[list[int]]:
    """The test that the source keeps aside, less what training has too; the others are dealt to train and valid."""
    rest = [i for i, aside in enumerate(held) if not aside]
    strata = None if labels is None else [labels[i] for i in rest]
    train, valid, more = ([rest[i] for i in part] for part in grouped([keys[i] for i in rest], strata, opt.seed))
    known = {keys[i] for i in rest}
    test = [i for i, aside in enumerate(held) if aside and keys[i] not in known]
    if not test:
        raise InputError("the rows left hold none of the published test; raise max_rows")
    return [sorted([*train, *more]), valid, test]


def _name(label: str | float | None) -> str:
    """A class name; 2.0 is written 2."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _ordered(labels: Sequence[Any]) -> tuple[str, ...]:
    """Class names, by number where all are numbers."""
    names = set(labels)
    return tuple(sorted(names, key=(lambda x: float(x)) if all(number(n) is not None for n in names) else str))


def _fit_value(labels: Sequence[Any], train: Sequence[int]) -> Value:
    mean, std = _moments(np.array([[labels[i]] for i in train]))
    return Value(mean=mean[0], std=std[0])


def _encode(raw: Raw, given: AnyInput) -> list[torch.Tensor]:
    """All records encoded; a fault is told with the place of its record."""
    inputs = []
    for record, source in zip(raw.records, raw.source, strict=True):
        try:
            inputs.append(given.encode(record))
        except InputError as fault:
            raise InputError(f"{source}: {fault}") from None
    return inputs


def _task(kind: Kind, raw: Raw, given: AnyInput, output: Any, inputs: list[torch.Tensor]) -> Task:
    form = raw.form
    return Task(
        kind=kind,
        reads=READS[form],
        measure="accuracy" if kind == "classification" else "rmse",
        classes=output.labels if isinstance(output, Classes) else (),
        vocab=given.vocab if isinstance(given, Text | Rows) else 0,
        channels=0 if form == "text" else 2 if form == "rows" else inputs[0].shape[0 if form == "image" else 1],
        grid=tuple(inputs[0].shape[1:]) if form == "image" else (),
        columns=tuple(c.name for c in given.columns) if isinstance(given, Rows) else (),
        max_length=0 if form == "image" else max(len(x) for x in inputs),
    )


def _record(raw: Raw, read: int, split: list[list[int]], opt: Options, task: Task, output: Any) -> None:
    facts = raw.notes.facts
    facts["modality"] = {"rows": "table", "frames": "sequences"}.get(raw.form, raw.form)
    facts["rows"] = {"read": read, "used": len(raw.records), "refused": len(raw.notes.refused)}
    stratified = "each class by itself" if task.kind == "classification" else "at random"
    rule = f"{100 - 200 * SHARE:.0f}/{100 * SHARE:.0f}/{100 * SHARE:.0f} {stratified}, copies of a row together"
    if raw.held:
        rule = f"the test of the source; {100 * SHARE:.0f} of 100 others to tune on, copies of a row together"
    facts["split"] = {"rule": rule, "seed": opt.seed, **{n: len(rows) for n, rows in zip(NAMES, split, strict=True)}}
    if isinstance(output, Classes):
        counts = Counter(raw.labels)
        facts["classes"] = {label: counts[label] for label in output.labels}
    else:
        facts["target_mean"], facts["target_std"] = output.mean, output.std
    facts["why"], facts["warnings"] = raw.notes.why, raw.notes.warnings


# ---- fitting an input on the training rows ------------------------------------------------------------------


def fit_input(raw: Raw, train: Sequence[int], opt: Options) -> AnyInput:
    """The input encoding of this form, fitted on the training rows only."""
    fit: dict[Form, Callable[[Raw, list[Any], Options], AnyInput]] = {
        "text": _fit_text, "rows": _fit_rows, "image": _fit_image, "frames": _fit_frames, "audio": _fit_audio,
    }  # fmt: skip
    return fit[raw.form](raw, [raw.records[i] for i in train], opt)


def _fit_text(raw: Raw, train: list[Any], opt: Options) -> Text:
    plain = Text(columns=tuple(raw.columns), max_length=opt.max_length)
    texts = [plain.write(r) for r in train]
    sizes = [len(t.encode("utf-8", "surrogatepass")) for t in texts]
    average, total = sum(sizes) / len(sizes), sum(sizes)
    if opt.tokens == "bpe" or (opt.tokens == "auto" and average >= BPE_FROM[0] and total >= BPE_FROM[1]):
        raw.notes.why.append(f"texts average {average:,.0f} bytes, {total:,} in train -> a BPE trained on them")
        given = plain.model_copy(update={"bpe": train_bpe(texts)})
    else:
        raw.notes.why.append(f"texts average {average:,.0f} bytes, {total:,} in train -> read byte by byte")
        given = plain
    whole = given.model_copy(update={"max_length": 0})
    inspect.lengths(raw, [len(whole.encode(r)) for r in raw.records], opt.max_length)
    return given


def _fit_rows(raw: Raw, train: list[Any], opt: Options) -> Rows:
    columns, used = [], 1  # id 0 says: a number is present
    for name, kind in raw.columns.items():
        cells = [row[name] for row in train if row[name] is not None]
        if kind == "category":
            names = sorted({str(c) for c in cells})
            columns.append(Column(name=name, missing=used, ids={n: used + 1 + i for i, n in enumerate(names)}))
            used += 1 + len(names)
        else:
            values = [[when(c) if kind == "time" else number(c)] for c in cells] or [[0.0]]
            mean, std = _moments(np.array(values))
            columns.append(Column(name=name, missing=used, mean=mean[0], std=std[0], time=kind == "time"))
            used += 1
    return Rows(columns=tuple(columns))


def _fit_image(raw: Raw, train: list[Any], opt: Options) -> Image:
    size, why = common_size([np.shape(r)[:2] for r in raw.records], opt.image_size)
    raw.notes.why.append(why)
    channels = max(np.shape(r)[2] if np.ndim(r) == 3 else 1 for r in raw.records)
    plain = Image(size=size, mean=(0.0,) * channels, std=(1.0,) * channels)
    mean, std = _moments_of([plain.encode(r).numpy().reshape(channels, -1).T for r in train])
    return Image(size=size, mean=mean, std=std)


def _fit_frames(raw: Raw, train: list[Any], opt: Options) -> Frames:
    inspect.lengths(raw, [len(r) for r in raw.records], opt.max_length)
    mean, std = _moments_of(train)
    return Frames(mean=mean, std=std, max_length=opt.max_length)


def _fit_audio(raw: Raw, train: list[Any], opt: Options) -> Audio:
    rates = Counter(r for _, r in raw.records)
    rate = min(HIGHEST, rates.most_common(1)[0][0])
    told = ", ".join(f"{n:,} at {r:,} Hz" for r, n in rates.most_common(4))
    raw.notes.why.append(f"sound ({told}) -> 40 log-mel bands every 10 ms at {rate:,} Hz")
    raw.records = [(resample(s, r, rate), rate) for s, r in raw.records]  # once, not again at encoding
    inspect.lengths(
        raw, [1 + max(0, len(s) - round(0.025 * rate)) // round(0.01 * rate) for s, _ in raw.records], opt.max_length
    )
    mean, std = _moments_of([log_mel(resample(s, r, rate), rate) for s, r in train])
    return Audio(rate=rate, frames=Frames(mean=mean, std=std, max_length=opt.max_length))


def _moments(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column, by which numbers are standardised; 1 for a constant one."""
    return _moments_of([x])


def _moments_of(arrays: Sequence[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Column moments of arrays (T_i, C) taken together, in float64, without joining them."""
    count = sum(len(a) for a in arrays)
    mean = sum(np.asarray(a, np.float64).sum(0) for a in arrays) / count
    var = sum(((np.asarray(a, np.float64) - mean) ** 2).sum(0) for a in arrays) / count
    std = np.sqrt(var)
    std[std <= 1e-8 * np.maximum(1e-8, np.abs(mean))] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
