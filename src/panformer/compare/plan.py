"""What is compared: arms on one task at lengths and widths, each within the same budget and tuned the same way."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..claims import registry, suites
from ..claims.arms import spec_of
from ..core.errors import EnvironmentGap, InputError, unknown
from ..core.part import config, known, parse
from ..core.tree import read_tree
from ..measure.cost import parameters
from ..model.build import build
from ..papers.schema import Change, Train

BUDGETS = ("parameters", "flops", "time")
RATES = (1e-3, 3e-3, 1e-2)
TUNED_ON = 100  # the seed that rates are chosen on; the seeds that are judged count from 0
CLOSE = 0.1  # how far parameters may lie from those of the first arm
STEP = 8  # widths are multiples of it
LAYERS, HEADS = 2, 4
PLACES = {
    "mixers": "mixer",
    "channels": "channel",
    "norms": "norm",
    "residuals": "residual",
}  # of a part within a layer
Tree = dict[str, Any]
N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Cell:
    """One length and one width: a table of its own."""

    length: int
    size: int


@dataclass(frozen=True)
class Plan:
    """A comparison, before any trial: everything here follows from what was asked."""

    entry: suites.Entry
    suite: str | None
    arms: Mapping[str, Change]
    lengths: tuple[int, ...]
    sizes: tuple[int, ...]
    seeds: int
    by: str
    rates: tuple[float, ...]
    train: Train
    minutes: float | None = None
    model: Tree = field(default_factory=dict)
    tests: tuple[int, ...] = ()  # lengths at which models of the one training length are tested; else where they train

    @property
    def cells(self) -> list[Cell]:
        """Where arms are trained."""
        return [Cell(length, size) for size in self.sizes for length in self.lengths]

    @property
    def judged(self) -> tuple[int, ...]:
        """Lengths of the tests."""
        return self.tests or self.lengths

    @property
    def told(self) -> list[Cell]:
        """Where arms are judged."""
        return [Cell(length, size) for size in self.sizes for length in self.judged]

    def trained(self, cell: Cell) -> Cell:
        """Where the models were trained that are judged in this cell."""
        return Cell(self.lengths[0], cell.size) if self.tests else cell

    @property
    def tries(self) -> int:
        """Runs by which an arm finds its rate in a cell; one rate needs none."""
        return len(self.rates) if len(self.rates) > 1 else 0

    def task(self, cell: Cell) -> Tree:
        return self.entry.at(cell.length)

    def spec(self, arm: str, cell: Cell, width: int | None = None) -> Tree:
        """The arm's model at the cell's width, or at another one."""
        ends = registry.task(self.task(cell)).ends()
        return {**spec_of(self.model, self.arms[arm], ends), "width": width or cell.size}


def entries(asked: str, lengths: Sequence[int] = ()) -> tuple[list[suites.Entry], str | None]:
    """`mqar`, `mqar:vocab=32`, a suite, or a task of `claims/tasks` with options -> entries, and the suite's name."""
    name, options = _options(asked)
    found = suites.find(name)
    if isinstance(found, suites.Suite):
        if options:
            raise InputError(f"{asked}: options belong to one task, and {name} is a suite")
        return list(found.entries), name
    if found.size in options:
        raise InputError(f"{asked}: {found.size} is the length of {name}; give it by --lengths {options[found.size]}")
    entry = replace(found, task={**found.task, **options})
    registry.task(entry.at((*lengths, *entry.lengths)[0]))  # refuses unknown options
    return [entry], next(s.name for s in suites.SUITES.values() if found in s.entries)


def arms(asked: str, least: int = 2) -> dict[str, Change]:
    """`attention,linear_attention:feature=elu,positions/rope,my.yaml` -> changes of the base model by name."""
    found: dict[str, Change] = {}
    for item in _split(asked):
        if item.endswith((".yaml", ".yml", ".json")):
            name, change = Path(item).stem, _file(item)
        else:
            name, change = item, _part(item)
        if name in found:
            raise InputError(f"--with names {name!r} twice")
        found[name] = change
    if len(found) < least:
        raise InputError("--with needs two or more arms, such as attention,mamba")
    return found


def base(ends: Mapping[str, Any]) -> Tree:
    """The model that arms change: two layers, the mixer before an MLP, places as added waves, so that every mixer has them;
    none where the task's tokens have no order, as the channels of a series.

    Tables of tokens begin at 0.02, beside which waves of 1 are all that a mixer sees: with them as they are attention
    stayed at 0.29 on `mqar` after 1500 steps, and at their own size it answers all after 500.
    """
    fields = type(config("embeds", ends["embed"])).model_fields
    return {
        "causal": bool(ends.get("causal", False)),
        **({"position": {"use": "sinusoidal"}} if "position" in fields else {}),
        **({"embed": {"scale": True}} if {"position", "scale"} <= set(fields) else {}),
        "schedule": [{"repeat": LAYERS, "mixer": {"use": "attention", "heads": HEADS}, "channel": "mlp"}],
    }


def width_of(plan: Plan, arm: str, cell: Cell) -> int:
    """The cell's width, or for equal parameters the one that comes nearest to those of the first arm."""
    first = next(iter(plan.arms))
    if plan.by != "parameters" or arm == first:
        return cell.size
    goal = parameters(build(plan.spec(first, cell), seed=0))
    tried: dict[int, int] = {}

    def count(width: int) -> int:
        if width not in tried:
            tried[width] = parameters(build(plan.spec(arm, cell, width), seed=0))
        return tried[width]

    low, high = STEP, STEP
    while count(high) < goal:
        low, high = high, 2 * high
    while high - low > STEP:
        middle = (low + high) // 2 // STEP * STEP
        low, high = (middle, high) if count(middle) < goal else (low, middle)
    best = min((low, high), key=lambda w: abs(count(w) - goal))
    if abs(count(best) / goal - 1) > CLOSE:
        raise InputError(
            f"{arm}: no width has within {CLOSE:.0%} of the {goal:,} parameters of {first} at width {cell.size} "
            f"(width {best}: {count(best):,}); take larger --sizes or another --budget"
        )
    return best


def numbers(asked: str, kind: type[N], option: str) -> tuple[N, ...]:
    """`4,8,16` -> (4, 8, 16); all above 0 and different."""
    try:
        found = tuple(kind(item) for item in _split(asked))
    except ValueError:
        found = (kind(0),)
    if not all(0 < n < math.inf for n in found) or len(set(found)) < len(found):
        raise InputError(f"{option} {asked!r}: expected different numbers above 0 with commas, such as 4,8,16")
    return found


def _file(item: str) -> Change:
    if not Path(item).is_file():
        raise InputError(f"--with {item}: no such file")
    tree = read_tree(Path(item))
    if not isinstance(tree, dict):
        raise InputError(f"{item}: an arm is a mapping with the keys model and layers")
    for key in tree:
        if key not in ("model", "layers"):
            raise InputError(f"{item}: {unknown('key', str(key), ['model', 'layers'])}")
    change = parse(Change, tree, item)
    if "width" in change.model:
        raise InputError(f"{item}.model.width: the width of all arms comes from --sizes")
    return change


def _part(item: str) -> Change:
    """A mixer by its name, another part by its family's name and its own."""
    path, options = _options(item)
    family, slash, name = path.rpartition("/")
    family = family if slash else "mixers"
    if family not in (*PLACES, "positions"):
        raise InputError(f"--with: {unknown('family', family, [*PLACES, 'positions'])}")
    if name not in known(family):
        raise unknown(family.removesuffix("s"), name, known(family))
    tree: Tree = {"use": name, **options}
    if family == "mixers" and "heads" in type(config(family, tree)).model_fields:
        tree.setdefault("heads", HEADS)
    config(family, tree)
    return Change(model={"position": tree}) if family == "positions" else Change(layers={PLACES[family]: tree})


def _options(item: str) -> tuple[str, Tree]:
    """`name:key=value;key=value` -> (name, values)."""
    name, _, rest = item.partition(":")
    options: Tree = {}
    for pair in filter(None, rest.split(";")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{item}: expected NAME:key=value;key=value")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):
            raise InputError(f"{item}: {key.strip()}: cannot read the value {value!r}") from None
    return name.strip(), options


def _said(lengths: Sequence[int]) -> str:
    return ", ".join(map(str, lengths))


def _split(asked: str) -> Sequence[str]:
    return [item.strip() for item in asked.split(",") if item.strip()]


def plans(
    task: str,
    with_: str,
    lengths: Sequence[int],
    sizes: Sequence[int],
    seeds: int,
    by: str,
    rates: Sequence[float],
    steps: int | None,
    minutes: float | None,
    least: int = 2,
    tests: Sequence[int] = (),
) -> list[Plan]:
    """One plan of `least` arms or more for each task that was asked for; what was left out comes from its entry, and
    `minutes` are shared among all.

    Tasks of a suite whose data is not installed are left out, with a warning.
    """
    if by not in BUDGETS:
        raise unknown("budget", by, BUDGETS)
    if not 2 <= seeds <= TUNED_ON:
        raise InputError(f"--seeds {seeds}: intervals need two seeds or more, and rates are chosen on seed {TUNED_ON}")
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError(f"--minutes {minutes}: expected a number above 0")
    asked, suite = entries(task, lengths)
    changes = arms(with_, least)
    found = []
    for entry in asked:
        train = parse(Train, {**entry.train, **({} if steps is None else {"steps": steps})}, "training")
        trained = tuple(lengths) or entry.lengths[:1]
        try:
            ends = registry.task(entry.at(trained[0])).ends()
        except EnvironmentGap as absent:
            if len(asked) == 1:
                raise
            warnings.warn(f"{entry.name} is left out of {suite}: {absent}", stacklevel=2)
            continue
        beyond = tuple(tests) or entry.tests
        if beyond and len(trained) > 1:
            raise InputError(f"--lengths: {entry.name} is tested at {_said(beyond)}, so it is trained at one length")
        if beyond:
            registry.task({**entry.at(trained[0]), "test": beyond[0]})  # refuses tasks without such an option
        found.append(Plan(entry, suite, changes, trained, tuple(sizes), seeds, by,
                          tuple(rates) or (train.rate,), train, None, base(ends), beyond))  # fmt: skip
    if not found:
        raise EnvironmentGap(f"nothing of the suite {suite} is here; `panformer tasks --data` tells what to install")
    return [replace(one, minutes=minutes and minutes / len(found)) for one in found]
