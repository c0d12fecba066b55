"""Our contestants: one model in each number format, and as `optimize` leaves it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..core.part import config
from ..core.spec import Stand
from ..measure.cost import of_model
from ..model.linears import replace_linears
from ..model.model import Model
from ..runtime.optimize import narrowed
from ..runtime.reach import fit, watched
from .race import matmul_rate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
ROWS = 1024


def forms(model: Model, sample: Sequence[Any]) -> dict[str, Model]:
    """fp32 and bf16 with pre-packed maps; int8 maps in a model that computes all else in the better of the two, fitted
    to what they read in a call with `sample`, or with a scale for each row as it comes."""
    half = narrowed(model, ROWS)
    wide = model if half is None else half[0]
    with torch.inference_mode():
        _, reach = watched(model, lambda: model(*sample))
    static = _with(copy.deepcopy(wide), "int8_static")
    fit(static, model, reach)
    return {
        "fp32": _with(copy.deepcopy(model), "packed"),
        "bf16": _with(copy.deepcopy(model).bfloat16(), "packed"),
        "int8": static,
        "int8 by row": _with(copy.deepcopy(wide), "int8"),
    }


def decoders(model: Model) -> dict[str, Model]:
    """Maps and the head's table in each format; beside 4-bit maps the table stays in 8 bits, which cost it least."""
    int4 = {"use": "int4", "group": 32}
    return {
        "fp32": _headed(_with(copy.deepcopy(model), "packed"), "packed"),
        "bf16": _headed(_with(copy.deepcopy(model).bfloat16(), "packed"), "packed"),
        "int8": _headed(_with(copy.deepcopy(model), "int8"), "int8"),
        "int4": _headed(_with(copy.deepcopy(model), int4), "int8"),
    }


def read_bytes(model: Model) -> int:
    """Bytes of weights that one step of a decoder reads: all maps, and the head's table in its form."""
    head: Any = model.head
    table: Any = head.table if head.table is not None else model._table()
    size = {"int8": 1.0, "int4": 0.5}.get(head.form.part.use() if head.form else "", table.element_size())
    layers = sum(t.numel() * t.element_size() for t in model.trunk.state_dict().values())
    return layers + round(table.numel() * size)


def limits(device: str = "cpu") -> dict[str, float]:
    """Operations per second of a plain matrix product in each format."""
    return {name: matmul_rate(dtype, device) for name, dtype in DTYPES.items()}


def profile(call: Callable[[], Any], count: int = 8) -> dict[str, float]:
    """The operators that took most of a warm call, and their share of its time."""
    with torch.inference_mode():
        call()  # packs weights
        with torch.profiler.profile() as seen:
            call()
    found = {e.key: e.self_cpu_time_total for e in seen.key_averages()}
    whole = sum(found.values())
    return {name: round(found[name] / whole, 3) for name in sorted(found, key=lambda n: -found[n])[:count]}


def work(model: Model, lengths: list[int]) -> float:
    """Operations of a forward pass over sequences of these lengths: a quadratic in the length, from three counts."""
    at = (16.0, 64.0, 128.0)
    a = torch.tensor([[1.0, n, n * n] for n in at], dtype=torch.float64)
    counts = torch.tensor([of_model(model, int(n), 1).flops for n in at], dtype=torch.float64)
    n = torch.tensor(lengths, dtype=torch.float64)
    return float((torch.stack([torch.ones_like(n), n, n * n], 1) @ torch.linalg.solve(a, counts)).sum())


def _headed(model: Model, use: str) -> Model:
    head: Any = model.head
    head.form = config("linears", use)
    return model


def _with(model: Model, use: str | dict[str, Any]) -> Model:
    replace_linears(model, Stand(where="*", use=config("linears", use)))
    return model.eval()
