"""A part is a class with a nested frozen Config. The file path is the registry.

`panformer/mixers/attention.py` holds the one part that a spec calls `{use: attention}` in a mixer slot.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import core_schema
from torch import nn

from .errors import InputError, unknown

C = TypeVar("C", bound=BaseModel)

FAMILIES = (
    "embeds", "positions", "mixers", "channels", "norms", "residuals", "reducers", "heads", "objectives",
    "linears", "features", "normalisers", "patterns", "depths",
)  # fmt: skip


class Config(BaseModel):
    """Options of one part: frozen, strict, JSON in and out."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    part: ClassVar[Any]  # the Part that these options are for, set by its class

    def build(self, *dims: int) -> Any:
        """The part itself; `dims` are the sizes its family asks for (most: the model width)."""
        self.part.check(self)
        return self.part(self, *dims)

    def dump(self) -> dict[str, Any]:
        """A plain tree with `use` first, from which the same config is read back."""
        return {"use": self.part.use(), **self.model_dump(mode="json")}


class Part(nn.Module):
    """Base of everything swappable. Subclasses nest a `Config` and say where they come from."""

    family: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    paper: ClassVar[str] = ""  # author, year, title: the source of the formula
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({},)  # configs that the laws are checked on
    undecayed: ClassVar[tuple[str, ...]] = ()  # matrices that weight decay must leave alone, as it does all vectors

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        if "Config" in cls.__dict__:
            cls.Config.part = cls

    @classmethod
    def use(cls) -> str:
        """The name in a spec: the file this part lives in."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def check(cls, c: Any) -> None:
        """Refuses other parts among the options that this one has no use for, which would silently do nothing."""

    def after_step(self) -> None:
        """Makes what this part holds true of its own weights true again, after a step of an optimiser."""


def known(family: str) -> list[str]:
    """Names of all parts in a family, from its folder."""
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    spec = importlib.util.find_spec(f"panformer.{family}")
    assert spec is not None and spec.submodule_search_locations is not None
    return sorted(m.name for m in pkgutil.iter_modules(spec.submodule_search_locations) if m.name[0] != "_")


def find(family: str, use: str) -> type[Part]:
    """The part class of `panformer/<family>/<use>.py`."""
    if use not in known(family):
        raise unknown(f"{family.removesuffix('s')} part", use, known(family))
    module = importlib.import_module(f"panformer.{family}.{use}")
    own = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, Part) and v.__module__ == module.__name__ and "Config" in v.__dict__
    ]
    if len(own) != 1:
        raise TypeError(f"panformer/{family}/{use}.py must define exactly one part with a Config, has {len(own)}")
    return own[0]


def config(family: str, node: str | Mapping[str, Any] | Config) -> Config:
    """A config from `'rope'`, `{use: rope, base: 1e4}` or a config of that family."""
    if isinstance(node, Config):
        if node.part.family != family:
            raise InputError(f"a {node.part.family} part ({node.part.use()}) stands where {family} belong")
        return node
    if isinstance(node, str):
        node = {"use": node}
    if not isinstance(node, Mapping) or not isinstance(node.get("use"), str):
        raise InputError(
            f"{family}: expected a name or {{use: NAME, ...}}, got {node!r}; known: {', '.join(known(family))}"
        )
    cls = find(family, node["use"])
    return parse(cls.Config, {k: v for k, v in node.items() if k != "use"}, f"{family}/{node['use']}")


def parse(cls: type[C], tree: Any, where: str) -> C:
    """Read `tree` as `cls`; the first fault is told in one line that names its key."""
    try:
        return cls.model_validate(tree)
    except ValidationError as fault:
        raise explain(fault, cls, where) from None


def explain(fault: ValidationError, cls: type[BaseModel], where: str) -> InputError:
    """One line for the first fault: its path, what is wrong, what is known."""
    first = fault.errors(include_url=False)[0]
    path = [str(p) for p in first["loc"] if not str(p).startswith(("function-", "list[", "dict["))]
    at = ".".join([where, *path])
    if first["type"] == "extra_forbidden":
        line = unknown("key", path[-1], _fields(cls, first["loc"][:-1]))
        return InputError(f"{'.'.join([where, *path[:-1]])}: {line}")
    if first["type"] == "missing":
        return InputError(f"{at}: this key is required")
    inner = first.get("ctx", {}).get("error")
    message = str(inner) if inner is not None else f"{first['msg'].lower()}, got {first['input']!r}"
    return InputError(f"{at}: {message}")


def _fields(cls: Any, path: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that `path` leads to, as far as it can be followed."""
    for key in path:
        if isinstance(key, str) and isinstance(cls, type) and issubclass(cls, BaseModel) and key in cls.model_fields:
            models = _models(cls.model_fields[key].annotation)
            cls = models[0] if models else cls
    return list(cls.model_fields)


def _models(hint: Any) -> list[type[BaseModel]]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [m for inner in getattr(hint, "__args__", ()) for m in _models(inner)]


@dataclass(frozen=True)
class Slot:
    """Marks a field that holds another part: `position: Annotated[Config, Slot("positions")]`."""

    family: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        optional = type(None) in getattr(source, "__args__", ())
        return core_schema.no_info_plain_validator_function(
            lambda node: None if node is None and optional else config(self.family, node),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda c: None if c is None else c.dump()),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        names = known(self.family)
        node = {"type": "object", "required": ["use"], "properties": {"use": {"enum": names}}}
        return {"description": f"a part of {self.family}/", "anyOf": [{"enum": names}, node, {"type": "null"}]}


def digest(tree: Any) -> str:
    """Twelve hex digits that name a plain tree, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]
