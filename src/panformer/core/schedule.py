"""Which parts each layer has: written as stages of repeated patterns, expanded to a flat list.

`expand` is pure and printable: what a model is made of can be read before anything is built.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .errors import InputError
from .part import Config, Slot

MAX_LAYERS = 2048


class Layer(BaseModel):
    """One layer as written: absent parts are inherited from the spec."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = Field(None, description="a handle for `reads` of later layers")
    mixer: Annotated[Config | None, Slot("mixers")] = None
    cross: Annotated[Config | None, Slot("mixers")] = None  # a second mixer, reading the encoder's memory
    channel: Annotated[Config | None, Slot("channels")] = None
    norm: Annotated[Config | None, Slot("norms")] = None
    residual: Annotated[Config | None, Slot("residuals")] = None
    position: Annotated[Config | None, Slot("positions")] = None
    reads: dict[str, str] = Field({}, description="what is lent, by the name of the layer that lends it: {kv: first}")

    @model_validator(mode="after")
    def _some(self) -> Layer:
        if self.mixer is None and self.cross is None and self.channel is None:
            raise ValueError("a layer needs a mixer, a cross mixer or a channel part")
        return self


class Stage(BaseModel):
    """Layers that share one width and lattice: a pattern, repeated.

    The keys of a single layer may stand in the stage itself. `reduce` changes the tokens before the
    stage; `tie` lets every repeat use the weights of the first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeat: int = Field(1, gt=0, le=MAX_LAYERS)
    pattern: tuple[Layer, ...] = Field(min_length=1)
    width: int | None = Field(None, gt=0)
    reduce: Annotated[Config | None, Slot("reducers")] = None
    tie: bool = False

    @model_validator(mode="before")
    @classmethod
    def _inline(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "pattern" not in tree:
            own = {k: v for k, v in tree.items() if k in cls.model_fields}
            return {**own, "pattern": [{k: v for k, v in tree.items() if k not in cls.model_fields}]}
        return tree


class Placed(BaseModel):
    """One layer of the flat list: its parts, its width, and the layers it leans on."""

    model_config = ConfigDict(frozen=True)

    layer: Layer
    width: int
    reads: dict[str, int]  # index of the layer that lends each name
    tie: int | None  # index of the layer whose weights this one uses
    reduce: Annotated[Config | None, Slot("reducers")] = None  # applied before this layer
    before: int  # the width before `reduce`


def expand(schedule: tuple[Stage, ...], width: int) -> tuple[Placed, ...]:
    """The flat list of layers. `reads` names the nearest earlier layer of that name."""
    out: list[Placed] = []
    now = width
    for s, stage in enumerate(schedule):
        before, now = now, stage.width or now
        if before != now and stage.reduce is None:
            raise InputError(f"schedule.{s}: width goes from {before} to {now}; a stage that changes it needs `reduce`")
        for turn in range(stage.repeat):
            for i, layer in enumerate(stage.pattern):
                first = turn == 0 and i == 0
                reads = {what: _named(out, name, s) for what, name in layer.reads.items()}
                tie = len(out) - turn * len(stage.pattern) if stage.tie and turn else None
                reduce = stage.reduce if first else None
                out.append(
                    Placed(layer=layer, width=now, reads=reads, tie=tie, reduce=reduce, before=before if first else now)
                )
        if len(out) > MAX_LAYERS:
            raise InputError(f"schedule.{s}: more than {MAX_LAYERS} layers")
    return tuple(out)


def _named(out: list[Placed], name: str, stage: int) -> int:
    for index in reversed(range(len(out))):
        if out[index].layer.name == name:
            return index
    names = sorted({p.layer.name for p in out if p.layer.name})
    raise InputError(f"schedule.{stage}: reads from {name!r}, no earlier layer has that name; names: {names or 'none'}")
