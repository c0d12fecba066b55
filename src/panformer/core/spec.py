"""A spec is a whole model as data: YAML or JSON in, strict keys, resolved, hashed.

`read` checks the keys; `resolve` writes every inherited choice into the layer that uses it and refuses
combinations that would be ignored. Two specs that resolve alike are the same model and share a hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .errors import InputError, unknown
from .part import Config, Slot, digest, parse
from .schedule import Layer, Placed, Stage, expand
from .tree import read_tree


class Stand(BaseModel):
    """A part that stands where linear maps stood: every one whose path in the model fits `where` (`*` fits all)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: str = "*"
    use: Annotated[Config, Slot("linears")]


class Spec(BaseModel):
    """A model: embed -> layers -> final norm -> head; with `encoder`, its output is the layers' memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("", max_length=200)
    about: str = ""
    width: int = Field(gt=0, le=65536)
    causal: bool = False
    dropout: float = Field(0.0, ge=0, lt=1, description="for every residual part that does not set its own")
    embed: Annotated[Config, Slot("embeds")]
    position: Annotated[Config | None, Slot("positions")] = None
    norm: Annotated[Config, Slot("norms")] = Field("layer", validate_default=True)
    residual: Annotated[Config, Slot("residuals")] = Field("pre", validate_default=True)
    schedule: tuple[Stage, ...] = Field(min_length=1)
    depth: Annotated[Config | None, Slot("depths")] = Field(None, description="default: a layer reads the last answer")
    final: Annotated[Config | None, Slot("norms")] = Field(
        None, description="default: the norm, where residuals need it"
    )
    encoder: Spec | None = None
    one_table: bool = Field(False, description="the encoder looks its tokens up in the decoder's table")
    head: Annotated[Config | None, Slot("heads")] = None
    objective: Annotated[Config | None, Slot("objectives")] = None
    linears: tuple[Stand, ...] = Field((), description="in place of plain linear maps, in this order")

    def dump(self) -> dict[str, Any]:
        """The plain tree, without what is at its default."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def hash(self) -> str:
        """Names the resolved model: name and remarks do not count."""
        unsaid = {"depth"} if self.depth is None else set()  # models from before it keep their hash
        tree = resolve(self).model_dump(mode="json", exclude={"name", "about", "encoder", *unsaid})
        return digest([tree, self.encoder.hash if self.encoder else None])

    @property
    def layers(self) -> tuple[Placed, ...]:
        return expand(self.schedule, self.width)


def read(source: str | Path | Mapping[str, Any] | Spec) -> Spec:
    """A spec from a tree, a `.yaml`/`.json` file or the name of a preset."""
    if isinstance(source, Spec):
        return source
    if isinstance(source, Mapping):
        return parse(Spec, dict(source), "spec")
    return parse(Spec, read_tree(locate(source)), str(source))


def locate(source: str | Path) -> Path:
    """The file of a spec: a path, or a preset by name."""
    if not isinstance(source, str | Path):
        raise InputError(f"a spec is a preset's name, a file or a tree, not a {type(source).__name__}")
    path = Path(source)
    if path.suffix in (".yaml", ".yml", ".json"):
        if not path.is_file():
            raise InputError(f"{source}: no such file")
        return path
    presets = {p.stem: p for p in (Path(__file__).parent.parent / "presets").glob("*.yaml")}
    if str(source) not in presets:
        raise unknown("spec or preset", str(source), presets)
    return presets[str(source)]


# ---- resolution


def resolve(spec: Spec) -> Spec:
    """The spec with every inherited choice written into the layer that uses it."""
    embed, place = _place_added(spec)
    used: set[str] = set()
    stages = tuple(
        stage.model_copy(update={"pattern": tuple(_fill(spec, layer, place, used) for layer in stage.pattern)})
        for stage in spec.schedule
    )
    if place is not None and place.part.kind != "none" and place.part.use() not in used:
        raise InputError(f"position: no mixer of this schedule can use {place.part.use()!r}; it would be ignored")
    residuals = [layer.residual for stage in stages for layer in stage.pattern]
    final = spec.final or (spec.norm if any(r is not None and r.part.final for r in residuals) else None)
    encoder = resolve(spec.encoder) if spec.encoder else None
    return spec.model_copy(
        update={"embed": embed, "position": place, "schedule": stages, "final": final, "encoder": encoder}
    )


def _place_added(spec: Spec) -> tuple[Config, Config | None]:
    """Added position vectors belong to the embed; other kinds stay for the mixers."""
    if spec.position is None or spec.position.part.kind != "add":
        return spec.embed, spec.position
    if "position" not in type(spec.embed).model_fields:
        raise InputError(f"position: embed {spec.embed.part.use()!r} adds no position vectors")
    return spec.embed.model_copy(update={"position": spec.position}), None


def _fill(spec: Spec, layer: Layer, place: Config | None, used: set[str]) -> Layer:
    residual = layer.residual or spec.residual
    if "dropout" in type(residual).model_fields and "dropout" not in residual.model_fields_set:
        residual = residual.model_copy(update={"dropout": spec.dropout})
    mixer = layer.mixer
    if mixer is not None:
        mixer = _positioned(_directed(mixer, spec.causal), layer.position, place, used)
    elif layer.position is not None:
        raise InputError("position: a layer without a mixer has no use for it")
    return layer.model_copy(
        update={"mixer": mixer, "residual": residual, "norm": layer.norm or spec.norm, "position": None}
    )


def _directed(mixer: Config, causal: bool) -> Config:
    """The mixer with the model's direction, unless it sets its own."""
    if "causal" in type(mixer).model_fields:
        return (
            mixer
            if mixer.model_dump(include={"causal"})["causal"] is not None
            else mixer.model_copy(update={"causal": causal})
        )
    if causal and not mixer.part.causal:
        raise InputError(f"mixer {mixer.part.use()!r} looks ahead and cannot stand in a causal model")
    return mixer


def _positioned(mixer: Config, own: Config | None, common: Config | None, used: set[str]) -> Config:
    """The mixer with its layer's position, else the model's; refused where it would be ignored."""
    takes: frozenset[str] = mixer.part.positions
    given: Config | None = getattr(mixer, "position", None)
    if given is not None:
        mixer.part.check(mixer)
        used.add(given.part.use())
        return mixer
    chosen = own or common
    if chosen is None or chosen.part.kind == "none":
        return mixer
    if chosen.part.kind in takes:
        used.add(chosen.part.use())
        return mixer.model_copy(update={"position": chosen})
    if own is not None or takes:
        mixer.part.suits(chosen)
    return mixer
