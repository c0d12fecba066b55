"""What parts declare and entries compose, read from the classes and files themselves. Needs torch, for the classes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args

import torch

from ..core.errors import PanformerError
from ..core.families import Mixer
from ..core.part import FAMILIES, Part, config, find, known
from ..papers.catalogue import Row
from ..papers.resolve import ROOT, SLOTS

GROWTHS = ("n", "n log n", "n^(4/3)", "n^1.5", "n^2")  # in the order of their cost
CLASSES = (64, 512, 4096, 32768)  # tokens at which a length class ends
PLACES = {"causal", "gives", "takes", "needs", "positions", "streams", "lattice", "growth", "couples", "pointwise", "counts",
          "final", "kind", "reads", "ties", "pools", "in_units", "learns", "fits", "signed"}  # fmt: skip


class Option(NamedTuple):
    name: str
    kind: str
    default: str
    range: str
    about: str


@cache
def every() -> tuple[str, ...]:
    """All parts as `family/use`."""
    return tuple(f"{family}/{use}" for family in FAMILIES for use in known(family))


def formula(name: str) -> str:
    """The first line of a part's docstring."""
    return _doc(_class(name)).partition("\n")[0]


def text(name: str) -> list[str]:
    """The paragraphs of the docstring after its first line; those with lines that are set in keep their lines."""
    rest = _doc(_class(name)).partition("\n")[2].strip("\n").split("\n\n")
    return [p if re.search(r"\n[ -]", p) else " ".join(p.split()) for p in rest if p.strip()]


def source(name: str) -> str:
    return (ROOT / f"{name}.py").read_text(encoding="utf-8")


def paper(name: str) -> str:
    return _class(name).paper


def examples(name: str) -> list[str]:
    """The configs that the laws are checked on, as they stand in a spec."""
    cls = _class(name)
    return [json.dumps({"use": cls.use(), **tree}) for tree in cls.examples]


def contract(name: str) -> dict[str, str]:
    """What the class declares, of instances under the first example where these decide it."""
    cls = _class(name)
    found: Any = _built(name.partition("/")[2], json.dumps(cls.examples[0])) if issubclass(cls, Mixer) else None
    found = cls if found is None else found
    told = {}
    base = next(
        c for c in cls.__mro__ if "family" in vars(c)
    )  # an instance may use a name of another family for itself
    for key in sorted(key for key in PLACES if hasattr(base, key)):
        value = getattr(found, key)
        if isinstance(value, bool):
            told[key] = "yes" if value else "no"
        elif isinstance(value, str):
            told[key] = value
        elif isinstance(value, tuple | frozenset):
            told[key] = ", ".join(sorted(map(str, value))) or "none"
    if "causal" in cls.Config.model_fields:
        told["causal"] = "an option"
    if issubclass(cls, Mixer) and cls.streams and told.get("causal") == "an option":
        told["streams"] = "where causal"
    elif issubclass(cls, Mixer) and told.get("causal") == "no":
        told["streams"] = "no"
    return told


def options(name: str) -> list[Option]:
    """The fields of the part's Config: type, default, range and what they mean."""
    found = []
    for key, field in _class(name).Config.model_fields.items():
        default = "required" if field.is_required() else _plain(field.get_default(call_default_factory=True))
        bounds = [_bound(item) for item in field.metadata]
        slot = next((f"a part of {item.family}" for item in field.metadata if hasattr(item, "family")), "")
        found.append(
            Option(
                key, slot or _kind(field.annotation), default, ", ".join(filter(None, bounds)), field.description or ""
            )
        )
    return found


def composed(row: Row) -> dict[str, str]:
    """Every part that an entry names -> its place: adds, model, or an arm of a check."""
    if row.entry is None:
        return {}
    tree = row.entry.model_dump(mode="json", by_alias=True)
    found = {name: "adds" for name in row.entry.adds if name in every()}
    for place, node in (("model", tree["model"]), ("arms", tree["checks"])):
        for name in _named(node):
            found.setdefault(name, place)
    return found


class Ways(NamedTuple):
    """How an entry's mixers run, as they declare it: "yes", "no", "either" (the task decides) or "" (no mixer)."""

    causal: str = ""
    streams: str = ""
    growth: str = ""


def ways(row: Row) -> Ways:
    """Causal where every mixer of the entry's model is; it streams where all do; its growth is that of the worst."""
    if row.entry is None:
        return Ways()
    model = row.entry.model
    trees = [tree for tree in _mixers(model.get("schedule", []))]
    if not trees:
        uses = [name.partition("/")[2] for name in row.entry.adds if name.startswith("mixers/")]
        trees = [{"use": use, **find("mixers", use).examples[0]} for use in uses]
    found = [_way(json.dumps(tree, sort_keys=True), model.get("causal")) for tree in trees]
    there = [one for one in found if one]
    if not there:
        return Ways()
    causal, streams = ({one[i] for one in there} for i in (0, 1))
    return Ways(_all(causal), _all(streams), max((one.growth for one in there), key=GROWTHS.index))


def length(row: Row) -> int:
    """The most tokens that a check of the entry runs; 0 where none says."""
    if row.entry is None:
        return 0
    return max(_lengths(row.entry.model_dump(mode="json", by_alias=True)["checks"]), default=0)


def length_class(tokens: int) -> str:
    """The class of a length, by where it ends."""
    if not tokens:
        return ""
    return next((f"up to {end:,}" for end in CLASSES if tokens <= end), f"over {CLASSES[-1]:,}")


def _class(name: str) -> type[Part]:
    return find(*name.split("/"))


def _doc(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _all(said: set[str]) -> str:
    return "no" if "no" in said else "either" if "either" in said else "yes"


@cache
def _way(tree: str, causal: bool | None) -> Ways | None:
    """How one mixer runs; None for what mixes nothing or can only be built in a whole model."""
    node = json.loads(tree)
    use = node.pop("use")
    cls = find("mixers", use)
    free = "causal" in cls.Config.model_fields and node.get("causal") is None
    if free and causal is not None:
        node["causal"], free = causal, False
    built = _built(use, json.dumps(node))
    if built is None:
        return None
    if free:
        return Ways("either", "either" if built.streams else "no", built.growth)
    return Ways("yes" if built.causal else "no", "yes" if built.causal and built.streams else "no", built.growth)


@cache
def _built(use: str, node: str) -> Any:
    """A mixer without memory for its weights, where it can be built so."""
    tree = {"use": use, **json.loads(node)}
    for device in ("meta", "cpu"):
        for width in (64, 96):
            try:
                with torch.random.fork_rng(devices=[]), torch.device(device):
                    return config("mixers", tree).build(width)
            except (
                PanformerError,
                RuntimeError,
                ValueError,
            ):  # a width that does not fit, or a constructor that reads its numbers
                continue
    return None


def _mixers(stages: Any) -> Iterator[Mapping[str, Any]]:
    for stage in stages:
        for layer in stage.get("pattern", [stage]):
            node = layer.get("mixer")
            if node:
                yield {"use": node} if isinstance(node, str) else node


def _named(node: Any, slot: str = "") -> Iterator[str]:
    """The parts in a tree, by the slots that they stand in."""
    if isinstance(node, list):
        for inner in node:
            yield from _named(inner)
    elif isinstance(node, dict):
        for key, inner in node.items():
            use = inner.get("use") if isinstance(inner, dict) else inner
            name = f"{SLOTS.get(key)}/{use}"
            if isinstance(use, str) and name in every():
                yield name
            yield from _named(inner)


def _lengths(node: Any) -> Iterator[int]:
    if isinstance(node, list):
        for inner in node:
            yield from _lengths(inner)
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key in ("length", "test", "lookback") and isinstance(inner, int):
                yield inner
            elif key == "lengths" and isinstance(inner, list):
                yield from (n for n in inner if isinstance(n, int))
            else:
                yield from _lengths(inner)


def _plain(value: Any) -> str:
    return json.dumps(value.dump() if hasattr(value, "dump") else value, default=str)


def _kind(hint: Any) -> str:
    if hint is type(None):
        return "null"
    inner = [_kind(a) for a in get_args(hint) if a is not ...]
    if type(None) in get_args(hint):
        return " | ".join(inner)
    name = getattr(hint, "__name__", str(hint))
    if name == "Literal":
        return " | ".join(map(str, get_args(hint)))
    if not inner:
        return name if isinstance(hint, type) else str(hint).strip("'")
    return " | ".join(inner) if name in ("Union", "UnionType", "Optional") else f"{name}[{', '.join(inner)}]"


def _bound(item: Any) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥", "max_length": "length ≤"}
    return ", ".join(
        f"{sign} {getattr(item, key)}" for key, sign in signs.items() if getattr(item, key, None) is not None
    )
