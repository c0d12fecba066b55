"""What is traced: a model as functions of plain tensors, with names for their inputs, outputs and free dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_leaves, tree_unflatten

from ..core.errors import InputError
from ..core.layout import Batch, Layout
from ..core.part import Part
from ..core.shared import Shared
from ..model.model import Model, Stream

WHOLE, STEP = "model", "step"
RAW = {"tokens": "tokens", "values": "values", "image": "images"}
PAST = 7  # tokens in the state that the step is traced with; other dimensions have other sizes
Dims = tuple[int | str, ...]  # a name stands for any size


@dataclass(frozen=True)
class Graph:
    """One function: its module, what it reads and answers, and an example to trace it with."""

    name: str
    module: nn.Module
    dims: Mapping[str, Dims]  # of every input, in order
    example: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    start: Mapping[str, tuple[int, ...]]  # of the state: its shape before the first token, without the axis of rows
    carry: Mapping[str, str]  # of the step: input -> the output that is its next value


class Whole(nn.Module):
    """inputs -> the head's answer to whole sequences."""

    def __init__(self, model: Model, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *given: Tensor) -> Tensor:
        named = dict(zip(self.names, given, strict=True))
        source = _batch(named, "source_") if self.model.encoder is not None else None
        return self.model(_batch(named, ""), None, source)


class Step(nn.Module):
    """(tokens, lengths, seen, state...) -> (the answer to the next tokens, seen, state...)."""

    def __init__(self, model: Model, names: tuple[str, ...], tree: Any) -> None:
        super().__init__()
        self.model, self.names, self.tree = model, names, tree

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(self.names)
        x = _batch(dict(zip(self.names, given[:count], strict=True)), "").x
        lengths, seen, *past = given[count - 2], given[count - 1], *given[count:]
        stream = Stream(tree_unflatten(past, self.tree), seen)
        out, (now, _) = self.model.chunk(x, (stream, Shared()), lengths)
        return out, now.seen, *tree_leaves(now.layers)


def _batch(named: Mapping[str, Tensor], prefix: str) -> Batch:
    raw = next(named[prefix + n] for n in RAW.values() if prefix + n in named)
    if prefix + "types" in named:
        raw = torch.stack([raw, named[prefix + "types"]], -1)
    lengths = named.get(prefix + "lengths")
    return Batch(raw, None if lengths is None else Layout.padded(lengths, raw.shape[1]))


def feeds(model: Model, x: Tensor, lengths: Tensor | None, prefix: str = "") -> dict[str, Tensor]:
    """Raw input under the names that the graphs give it."""
    raw = prefix + RAW[model.embed.reads]
    out = {raw: x}
    if model.embed.reads == "tokens" and has_types(model):
        out = {raw: x[..., 0], prefix + "types": x[..., 1]} if x.dim() == 3 else {raw: x, prefix + "types": 0 * x}
    return out if lengths is None else {**out, prefix + "lengths": lengths}


def has_types(model: Model) -> bool:
    return getattr(model.embed, "types", None) is not None


def whole(model: Model, example: Mapping[str, Tensor], free: frozenset[str]) -> Graph:
    """The graph of whole sequences; `free` names further dimensions that the model takes in any size."""
    dims = {name: _dims(name, x, free) for name, x in example.items()}
    names = tuple(example)
    return Graph(WHOLE, Whole(model, names), dims, tuple(example.values()), ("output",), {}, {})


def step(model: Model, example: Mapping[str, Tensor]) -> Graph:
    """The graph of the next tokens, whose state comes in and goes out as tensors."""
    x, lengths = (example[n] for n in (RAW[model.embed.reads], "lengths"))
    given = {**example, "seen": torch.zeros_like(lengths)}
    with torch.inference_mode():
        before, shared = model.start(x.shape[0])
        ragged = lengths.index_fill(0, torch.tensor(0), 1)  # then the state has all that it ever holds
        after = model.chunk(x, (before, shared), ragged)[1][0]
    empty, tree = tree_flatten_with_path(before.layers)
    dims: dict[str, Dims] = {n: _dims(n, z, frozenset()) for n, z in given.items()}
    start: dict[str, tuple[int, ...]] = {}
    carry, state = {"seen": "seen_next"}, []
    for (path, zero), grown in zip(empty, tree_leaves(after.layers), strict=True):
        name = "_".join(str(getattr(key, "key", getattr(key, "idx", ""))) for key in path)
        shape = [int(n) if n == m else "past" for n, m in zip(zero.shape, grown.shape, strict=True)][1:]
        dims[f"past_{name}"] = ("batch", *shape)
        start[f"past_{name}"] = tuple(0 if n == "past" else int(n) for n in shape)
        carry[f"past_{name}"] = f"present_{name}"
        state.append(zero.new_zeros(x.shape[0], *(PAST if n == "past" else int(n) for n in shape)))
    names = tuple(given)
    example_args = (*(given[n] for n in names), *state)
    outputs = ("output", *carry.values())
    return Graph(STEP, Step(model, names, tree), dims, example_args, outputs, start, carry)


def why_no_step(model: Model, per_token: bool) -> str | None:
    """The reason a model has no graph of the next tokens, or None."""
    if model.encoder is not None:
        return "an encoder-decoder's memory is not an input yet"
    coupled = [m.use() for m in model.modules() if isinstance(m, Part) and getattr(m, "couples", None)]
    if coupled:
        return f"{coupled[0]}: one token's answer depends on all others"
    if not per_token:
        return "the head answers once per sequence, not per token"
    return model.why_no_stream()


def _dims(name: str, x: Tensor, free: frozenset[str]) -> Dims:
    source = name.startswith("source_")
    length = "source_length" if source else "length"
    kind = name.removeprefix("source_")
    if kind in ("lengths", "seen"):
        return ("batch",)
    if kind in ("tokens", "types"):
        return "batch", length
    names = ("batch", length, "channels") if kind == "values" else ("batch", "channels", "height", "width")
    return tuple(n if n != "channels" or n in free else int(s) for n, s in zip(names, x.shape, strict=True))


def check(model: Model) -> None:
    """Refuse what has no form as a graph. Errors: InputError names the part."""
    for path, part in model.named_modules():
        if isinstance(part, Part) and part.family == "channels" and part.use() in ("moe", "random_experts"):
            raise InputError(
                f"{path}: {part.use()} sends each token to its own experts, which a fixed graph cannot do yet"
            )
