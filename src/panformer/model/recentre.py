"""Layer norms that need no mean: exact rewrites of a whole model, whose stream has mean 0 afterwards."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Norm
from ..core.part import Config, config
from ..core.spec import Spec
from .io import blank, fill, tensors
from .model import Model

Form = Literal["rms", "crms"]
READS = {"attention": ("q", "k", "v", "gate"), "mlp": ("up",), "glu": ("gate", "up")}  # maps of what a norm answers
WRITES = {"attention": "o", "mlp": "down", "glu": "down"}  # maps whose answer goes into the stream
ADDS = ("pre", "parallel", "two_hop", "scale")  # residuals that do nothing to the stream but add to it
PLACES = ("learned", "learned_grid")  # positions of embeds that crms can narrow
TABLES = {  # of embeds that crms can narrow: tensor and the axis that is the stream's
    "table.weight": 1, "types.weight": 1, "position.table": 1, "map.weight": 0, "map.bias": 0, "first": 0, "registers": 1,
}  # fmt: skip


def recentre(model: Model, form: Form = "rms") -> Model:
    """The model with `rms` norms for layer norms, or `crms` ones on a stream of one channel less, that answers the same.

    Whatever is added to the stream gets mean 0 there, so layer norms have no mean to take away. Their offsets go to the
    maps that read them. For `crms` their weights go there too, the last channel, which is less the sum of the others,
    is left out, and a head that shared the embedding table gets a table of its own. Answers are those of evaluation:
    dropout in the stream would give it a mean again. Jiang et al. 2023.
    Errors: InputError where the answers would change, with the reason.
    """
    why = why_not(model, form)
    if why is not None:
        raise InputError(f"recentre: {why}")
    values = _Rewrite(model, form).values()
    new = blank(_spec(model, form).dump(), values, "recentre")
    fill(new, values, "recentre")
    new.travels = dict(model.travels)
    return new.to(next(model.parameters()).device).train(model.training)


def why_not(model: Model, form: Form) -> str | None:
    """Why the rewrite would not be exact, or None."""
    spec = model.spec
    for name, there in (("encoder", spec.encoder), ("depth", spec.depth), ("linears", spec.linears)):
        if there:
            return f"models with `{name}` are not rewritten"
    if len(model.trunk.reducers) or any(p.width != spec.width for p in model.trunk.placed):
        return "the stream has not one width from end to end"
    if any(getattr(p.layer.residual, "later", None) is not None for p in model.trunk.placed):
        return "later branches have another kind of norm"
    layers = enumerate(model.trunk.each())
    found = [*(_layer_why(i, layer) for i, layer in layers), _embed_why(model, form), _head_why(spec.head, form)]
    if model.trunk.final is None or model.trunk.final.use() != "layer":
        found.append("what the head reads does not come out of a layer norm")
    return next((why for why in found if why is not None), None)


def _layer_why(i: int, layer: Any) -> str | None:
    residual = layer.residual
    if residual.use() not in ADDS:
        return f"layer {i}: residual {residual.use()!r} does more to the stream than add to it"
    if any(m.use() != "layer" for m in residual.modules() if isinstance(m, Norm)):
        return f"layer {i}: a norm is no layer norm"
    for name in layer.branches:
        part = getattr(layer, name)
        if name == "cross" or part.use() not in READS:
            return f"layer {i}: the maps between {name} {part.use()!r} and the stream are not known"
        position = getattr(part, "position", None)
        if position is not None and position.kind == "context":
            return f"layer {i}: position {position.use()!r} reads what the norm answers"
    return None


def _embed_why(model: Model, form: Form) -> str | None:
    c: Any = model.spec.embed
    if _projects(model):
        return None
    if "norm" not in type(c).model_fields or c.norm is not None:
        return f"embed {c.part.use()!r} ends in a norm, or has no place for one"
    if form == "rms":
        return None
    place = getattr(c, "position", None)
    if c.part.use() not in ("tokens", "bytes", "patches") or (place is not None and place.part.use() not in PLACES):
        return f"embed {c.part.use()!r}: a channel of its vectors cannot be left out; rms keeps them all"
    return None


def _projects(model: Model) -> bool:
    """Whether the embed ends in a linear map."""
    return getattr(model.embed, "project", None) is not None


def _head_why(c: Any, form: Form) -> str | None:
    use = None if c is None else c.part.use()
    if use not in ("lm", "tag", "classify"):
        return "the answer is the hidden vectors" if c is None else f"how head {use!r} reads the stream is not known"
    if use != "lm" and c.norm is not None and not c.hidden:
        return f"head {use!r} normalises what the final norm answers"
    if use == "classify" and c.pool == "max" and form == "crms":
        return "the largest of every channel needs them all; rms keeps them"
    return None


# ---- the spec


def _spec(model: Model, form: Form) -> Spec:
    spec = model.spec
    final: Any = spec.final
    stages = []
    for stage in spec.schedule:
        pattern = []
        for layer in stage.pattern:
            parts = {n: _part(getattr(layer, n), layer.norm, spec.width, form) for n in ("mixer", "channel")}
            pattern.append(layer.model_copy(update={**parts, "norm": _norm(layer.norm, form)}))
        stages.append(stage.model_copy(update={"pattern": tuple(pattern), "width": None}))
    ends = {"embed": _embed(model, form), "head": _head(spec.head, final.bias, spec.width, form)}
    norms = {"norm": stages[0].pattern[0].norm, "final": _norm(final, form)}
    return spec.model_copy(update={"width": spec.width - (form == "crms"), "schedule": tuple(stages), **ends, **norms})


def _norm(c: Any, form: Form) -> Config:
    return config("norms", {"use": form, "eps": c.eps, **({"weight": False} if form == "crms" else {})})


def _part(c: Any, norm: Any, width: int, form: Form) -> Any:
    """A mixer or channel with room for the norm's offset, and its inner sizes as they were."""
    if c is None:
        return None
    new: dict[str, Any] = {}
    if norm.bias:
        new["bias"] = True
        if c.part.use() == "attention":
            new |= {"k_bias": True, "out_bias": c.bias if c.out_bias is None else c.out_bias}
    if form == "crms":
        with torch.device("meta"):
            built = c.build(width)
        new |= {"head_width": built.size} if c.part.use() == "attention" else {"hidden": built.up.out_features}
    return c.model_copy(update=new)


def _embed(model: Model, form: Form) -> Any:
    c: Any = model.spec.embed
    if _projects(model):
        return c
    if form == "rms":
        return c.model_copy(update={"norm": config("norms", "centre")})
    wide = {"scale": model.spec.width**0.5} if getattr(c, "scale", None) is True else {}
    return c.model_copy(update=wide)


def _head(c: Any, offset: bool, width: int, form: Form) -> Any:
    new: dict[str, Any] = {}
    dense = c.transform is not None if c.part.use() == "lm" else bool(c.hidden)
    if offset:
        new["dense_bias" if dense else "bias"] = True
    if c.part.use() == "lm" and form == "crms":
        new |= {"tie": False, "size": (c.size or width) if dense else None}
    return c.model_copy(update=new)


# ---- the tensors


class _Rewrite:
    """The tensors of the new model, by name."""

    def __init__(self, model: Model, form: Form) -> None:
        self.model, self.narrow, self.width = model, form == "crms", model.spec.width
        self.out = tensors(model)

    def values(self) -> dict[str, Tensor]:
        table = self.out.get("embed.table.weight")  # before it is centred: a head may share it
        self._embed()
        for i, (layer, placed) in enumerate(zip(self.model.trunk.each(), self.model.trunk.placed, strict=True)):
            if placed.tie is None:
                self._layer(f"trunk.layers.{i}.", layer)
        self._head(table)
        for name in [n for n in self.out if n.startswith("trunk.final.") or ".residual.norms." in n]:
            if self.narrow or name.endswith(".bias"):
                del self.out[name]
        kind = next(self.model.parameters()).dtype
        return {n: v.to(kind).contiguous() if v.is_floating_point() else v for n, v in self.out.items()}

    def _embed(self) -> None:
        if _projects(self.model):
            self._writes("embed.project.weight")
            self._writes("embed.project.bias")
        elif self.narrow:
            for name, axis in TABLES.items():
                self._writes(f"embed.{name}", axis)

    def _layer(self, here: str, layer: Any) -> None:
        residual = layer.residual
        for j, branch in enumerate(layer.branches):
            part, norm = getattr(layer, branch), residual.norms[j % len(residual.norms)]
            for name in READS[part.use()]:
                if getattr(part, name, None) is not None:
                    self._reads(f"{here}{branch}.{name}", norm)
            last, gain = f"{here}{branch}.{WRITES[part.use()]}", None
            if residual.use() == "scale":
                gain = self.out[f"{here}residual.gamma.{j}"].double()
                self.out[f"{here}residual.gamma.{j}"] = gain.new_ones(self.width - self.narrow)
            for kind in ("weight", "bias"):
                self._writes(f"{last}.{kind}", 0, gain)
            if norm.bias is not None and branch == "channel" and f"{last}.bias" not in self.out:
                self.out[f"{last}.bias"] = norm.bias.new_zeros(self.width - self.narrow)

    def _head(self, table: Tensor | None) -> None:
        head: Any = self.model.head
        norm = self.model.trunk.final
        if head.use() != "lm":
            return self._reads("head.out" if head.dense is None else "head.dense", norm)
        mine = self.out.get("head.table", table)
        assert mine is not None
        if head.dense is not None:
            self._reads("head.dense", norm)
        else:
            mine, offset = self._seen(mine, norm)
            if offset is not None:
                old = self.out.get("head.bias")
                self.out["head.bias"] = head.scale * offset + (0 if old is None else old.double())
        if self.narrow or not head.ties:
            self.out["head.table"] = mine

    def _reads(self, name: str, norm: Any) -> None:
        """A map of what this norm answers."""
        self.out[f"{name}.weight"], offset = self._seen(self.out[f"{name}.weight"], norm)
        if offset is not None:
            old = self.out.get(f"{name}.bias")
            self.out[f"{name}.bias"] = offset if old is None else offset + old.double()

    def _seen(self, matrix: Tensor, norm: Any) -> tuple[Tensor, Tensor | None]:
        """(the matrix for what the new norm answers, what the offset of the old one adds), for inputs side by side."""
        blocks = matrix.detach().double().unflatten(1, (-1, self.width))
        offset = None if norm.bias is None else (blocks @ norm.bias.detach().double()).sum(1)
        if self.narrow:
            blocks = blocks * norm.weight.detach().double()
            blocks = blocks[..., :-1] - blocks[..., -1:]
        return blocks.flatten(1), offset

    def _writes(self, name: str, axis: int = 0, gain: Tensor | None = None) -> None:
        """A tensor that is added to the stream along this axis, there with mean 0."""
        if name not in self.out:
            return
        x = self.out[name].detach().double()
        x = x if gain is None else x * gain.view(-1, *(1,) * (x.dim() - 1))
        x = x - x.mean(axis, keepdim=True)
        self.out[name] = x.narrow(axis, 0, self.width - 1) if self.narrow else x
