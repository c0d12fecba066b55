"""A paper is one YAML entry: the parts it adds, a model, a claim in our words, and the checks that may refute it.

Thresholds live in the entry and are hashed, so evidence for another threshold is stale. Light: no torch.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..core.errors import InputError, unknown
from ..core.tree import read_shipped

Range = tuple[float | None, float | None]  # null leaves a side open
Tree = dict[str, Any]
Cost = Literal["parameters", "flops", "bytes", "peak", "saved", "state", "forward", "train", "decode"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False, defer_build=True)


class Change(_Strict):
    """How an arm differs: trees merged into the model, each of its layers, the task, the training, a fact's options."""

    model: Tree = {}
    layers: Tree = {}
    task: Tree = {}
    train: Tree = {}
    options: Tree = Field({}, alias="with")


class Train(_Strict):
    """One training run: so many steps of so many examples, AdamW under a warm-up and cosine decay."""

    steps: int = Field(gt=0, le=100_000)
    batch: int = Field(32, gt=0)
    rate: float = Field(3e-3, gt=0)
    decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")


class _Check(_Strict):
    about: str = ""  # what this check shows, in a phrase


class Equal(_Check):
    """Two computations give the same numbers, in float64. `control` names options for which they must differ."""

    judge: Literal["equal"]
    fact: str
    options: Tree = Field({}, alias="with")
    tolerance: float = Field(gt=0)
    seeds: int = Field(3, gt=0)
    control: Change | None = None


class Parity(_Check):
    """The same numbers as a public implementation on copied weights; inconclusive where it is not installed."""

    judge: Literal["parity"]
    peer: str
    options: Tree = Field({}, alias="with")
    tolerance: float = Field(gt=0)
    seeds: int = Field(1, gt=0)


class BeatsExpect(_Strict):
    margin: float
    seeds: int = Field(3, ge=3)


class _Measured(_Check):
    """What is measured: a task's measure after training, or a fact that returns a number. `change` is the arm."""

    task: Tree | None = None
    train: Train | None = None
    fact: str | None = None
    options: Tree = Field({}, alias="with")
    change: Change = Field(default_factory=Change)

    @model_validator(mode="after")
    def _one_source(self) -> _Measured:
        if (self.fact is None) == (self.task is None):
            raise ValueError("give one of `task` and `fact`")
        if (self.task is None) != (self.train is None):
            raise ValueError("`task` and `train` go together")
        return self


class Beats(_Measured):
    """`change` betters `control` by more than the margin. A margin below 0 says "no worse than" and needs
    a `floor`: an arm that must be seen to fail. `lower` says that a fact is better when lower."""

    judge: Literal["beats"]
    control: Change
    floor: Change | None = None
    lower: bool = False
    expect: BeatsExpect

    @model_validator(mode="after")
    def _told_apart(self) -> Beats:
        if self.lower and self.task is not None:
            raise ValueError("a task says itself whether lower is better")
        if self.expect.margin < 0 and self.floor is None:
            raise ValueError("a margin below 0 needs `floor`, an arm that must be seen to fail")
        return self


class ScalesExpect(_Strict):
    exponent: Range
    repeats: int = Field(3, ge=1)


class Scales(_Check):
    """A measured cost, or a task's measure at test length n, goes as n to a power."""

    judge: Literal["scales"]
    cost: Cost | None = None
    task: Tree | None = None
    train: Train | None = None
    change: Change = Field(default_factory=Change)
    lengths: tuple[int, ...] = Field(min_length=3)
    batch: int = Field(1, gt=0)
    expect: ScalesExpect

    @model_validator(mode="after")
    def _one_of(self) -> Scales:
        if (self.cost is None) == (self.task is None):
            raise ValueError("give one of `cost` and `task`")
        if (self.task is None) != (self.train is None):
            raise ValueError("`train` goes with `task`")
        return self


class CostsExpect(_Strict):
    ratio: Range
    repeats: int = Field(7, ge=3)


class Costs(_Check):
    """The cost of `change` over the cost of `control` lies in a range."""

    judge: Literal["costs"]
    cost: Cost
    change: Change = Field(default_factory=Change)
    control: Change
    length: int = Field(gt=0)
    batch: int = Field(1, gt=0)
    expect: CostsExpect


class HoldsExpect(_Strict):
    bound: Range
    seeds: int = Field(3, gt=0)


class Holds(_Measured):
    """A number stays within a bound for every seed. `control` is an arm that must fall outside,
    which shows that the check can fail."""

    judge: Literal["holds"]
    control: Change | None = None
    expect: HoldsExpect


class Listed(_Check):
    """Nothing to run, with the reason."""

    judge: Literal["listed"]
    why: str = Field(min_length=1)


Check = Annotated[Equal | Parity | Beats | Scales | Costs | Holds | Listed, Field(discriminator="judge")]

_JUDGES: dict[str, type[_Check]] = {
    get_args(cls.model_fields["judge"].annotation)[0]: cls
    for cls in (Equal, Parity, Beats, Scales, Costs, Holds, Listed)
}


class Paper(_Strict):
    """One entry. Slug and family are the file's name and folder, and status and verdict are computed."""

    id: int = Field(ge=0)
    adds: tuple[str, ...] = ()
    model: Tree = {}
    claim: str = Field(min_length=1)
    note: str = ""  # what was checked instead, where the paper's own scale cannot be run
    checks: tuple[Check, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _listed_alone(self) -> Paper:
        if len(self.checks) > 1 and any(c.judge == "listed" for c in self.checks):
            raise ValueError("`listed` says that there is nothing to check, so it stands alone")
        return self

    @cached_property
    def tree(self) -> Tree:
        """The entry as plain data, with the keys of the file."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def spec_hash(self) -> str:
        return fingerprint({"adds": self.adds, "model": self.model})

    @property
    def claim_hash(self) -> str:
        checks = [{key: value for key, value in check.items() if key != "about"} for check in self.tree["checks"]]
        return fingerprint({"claim": self.claim, "checks": checks})


def fingerprint(tree: Any) -> str:
    """Twelve hex digits that name a plain tree, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def read(path: Path) -> Paper:
    """The entry in a YAML file, or one line that names the file and the key."""
    return parse(read_shipped(path), path.name)


def parse(tree: Any, where: str) -> Paper:
    """The entry in a plain tree; the first fault is told in one line."""
    if not isinstance(tree, dict):
        raise InputError(f"{where}: an entry is a mapping with the keys {', '.join(Paper.model_fields)}")
    try:
        return Paper.model_validate(tree)
    except ValidationError as fault:
        raise InputError(_line(fault, where)) from None


def _line(fault: ValidationError, where: str) -> str:
    faults = fault.errors(include_url=False)
    first = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])  # a typo explains a missing key
    home, keys = _follow([str(key) for key in first["loc"]])
    at = ".".join([where, *keys])
    if first["type"] == "extra_forbidden":
        return f"{'.'.join([where, *keys[:-1]])}: {unknown('key', keys[-1], home)}"
    if first["type"] == "missing":
        return f"{at}: this key is required"
    inner = first.get("ctx", {}).get("error")
    return f"{at}: {inner if isinstance(inner, Exception) else first['msg'].lower()}"


def _follow(path: list[str]) -> tuple[list[str], list[str]]:
    """(keys known where the path ends, the path as a person writes it, without the judge's name)."""
    cls: type[BaseModel] = Paper
    keys: list[str] = []
    for key in path:
        if key in _JUDGES and keys[:1] == ["checks"] and len(keys) == 2:
            cls = _JUDGES[key]
            continue
        keys.append(key)
        inner = cls.model_fields[key].annotation if key in cls.model_fields else None
        cls = next((c for c in (inner, *get_args(inner)) if isinstance(c, type) and issubclass(c, BaseModel)), cls)
    return [field.alias or name for name, field in cls.model_fields.items()], keys
