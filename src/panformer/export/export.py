"""A model written as a file that runs without panformer, and kept only when it answers as the model does."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import uuid
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..core.errors import InputError, require, unknown, writing
from ..model import io
from ..model.model import Model
from . import graphs as g
from .compare import TOLERANCE, compare
from .forms import EXTRA, FORMS, write
from .questions import Case, Probe
from .trace import CannotExport, dimensions, trace

FORMAT = 1
HOME = ("origin.json", "origin.safetensors", "README.md")  # of a model folder alone
Which = Literal["all", "model", "step"]


class Exported(NamedTuple):
    folder: Path
    form: str
    graphs: dict[str, dict[str, Any]]  # name -> file, inputs, outputs, dimensions
    error: float  # largest difference over all calls, relative to the largest number of the answer
    calls: int
    without: dict[str, str]  # graphs that were not written -> why


def export(
    model: Model | str | Path,
    form: str,
    out: str | Path,
    data: Sequence[Tensor] | None = None,
    graphs: Which = "all",
) -> Exported:
    """Write a model, or the model of a folder, as the new folder `out`; form is "onnx", "openvino" or "torch".

    "model" is the graph of whole sequences, "step" that of the next tokens, with the state as inputs and outputs;
    "all" writes both where the model can read in pieces. Batch and length are free. The files are then run by a process
    without panformer on `data` (inputs as the model reads them, without the batch axis) or on drawn input, and
    compared with the model in fp32. Errors: ExportError, and nothing is left behind, where they differ by more than
    1e-4 or answer NaN; CannotExport and InputError; EnvironmentGap names the extra.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    if graphs not in ("all", g.WHOLE, g.STEP):
        raise unknown("choice of graphs", graphs, ("all", g.WHOLE, g.STEP))
    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: exists already; give another --out")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.absolute().parent}")
    for package in FORMS[form].needs:
        require(package, EXTRA)
    ready = _ready(model)
    g.check(ready)
    probe = Probe(ready, _rows(ready, data))
    why = g.why_no_step(ready, probe.per_token and probe.ragged)
    if graphs == g.STEP and why:
        raise InputError(f"this model has no graph of the next tokens: {why}")
    wanted = [n for n in (g.WHOLE, g.STEP) if graphs in ("all", n) and not (n == g.STEP and why)]
    draft = out.absolute().parent / f".{out.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with writing(out):
        draft.mkdir()
        try:
            made, described, cases = [], {}, []
            for name in wanted:
                graph, facts, asked = _written(ready, probe, name, form, draft)
                made.append(graph)
                described[name] = facts
                cases += asked
            error = compare(form, made, {n: draft / f["file"] for n, f in described.items()}, cases)
            found = Exported(out, form, described, error, sum(map(len, cases)), {g.STEP: why} if why else {})
            _accompany(ready, draft, found, data is not None)
            draft.rename(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return found


def _ready(model: Model | str | Path) -> Model:
    """The model in fp32 on the CPU, in evaluation mode; a given one is left as it is."""
    if isinstance(model, Model):
        plain = all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters())
        return model if plain and not model.training else copy.deepcopy(model).float().cpu().eval()
    folder = Path(model)
    if not folder.exists():
        raise InputError(f"{folder}: no such model folder")
    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder}: not a model folder; `panformer import` makes one of other checkpoints")
    if "baseline" in io.read_json(folder / "config.json"):
        raise InputError(f"{folder}: holds a plain baseline, not a network; there is no graph to export")
    return io.load(folder).float()


def _rows(model: Model, data: Sequence[Tensor] | None) -> Sequence[Tensor] | None:
    if data is None:
        return None
    if not len(data):
        raise InputError("data holds no rows to compare on")
    dims = {
        n - 1 for n in ((2, 3) if model.embed.reads == "tokens" else (3,) if model.embed.reads == "values" else (4,))
    }
    for row in data[:64]:
        if row.dim() not in dims or row.is_floating_point() == (model.embed.reads == "tokens"):
            raise InputError(f"data: a row {row.dtype} {tuple(row.shape)} is not what the model reads")
    return data


def _written(
    model: Model, probe: Probe, name: str, form: str, folder: Path
) -> tuple[g.Graph, dict[str, Any], list[Case]]:
    """Trace and write one graph; what is known of it, and what it will be asked."""
    example = probe.example()
    graph = g.step(model, example) if name == g.STEP else g.whole(model, example, probe.free)
    program = trace(graph)
    free, fixed = dimensions(graph, program)
    for dim, size in fixed.items():
        if probe.varies(dim):
            raise CannotExport(f"{name}: tracing fixed {dim} at {size}, but the model takes other sizes")
    for dim, limits in free.items():
        if probe.largest(dim) > limits.get("max", math.inf):
            raise CannotExport(f"{name}: tracing left {dim} up to {limits['max']}, but the model takes more")
    file = folder / f"{name}{FORMS[form].suffix}"
    write(form, program, graph, file)
    inputs = [
        {"name": n, "dtype": str(x.dtype).removeprefix("torch."), "shape": [fixed.get(str(d), d) for d in dims]}
        for (n, dims), x in zip(graph.dims.items(), graph.example, strict=True)
    ]
    facts: dict[str, Any] = {"file": file.name, "inputs": inputs, "outputs": list(graph.outputs), "dimensions": free}
    if graph.carry:
        facts |= {"carry": dict(graph.carry), "start": {n: ["batch", *shape] for n, shape in graph.start.items()}}
    return graph, facts, probe.cases(graph, free)


def _accompany(model: Model, folder: Path, found: Exported, real: bool) -> None:
    """What the model brings along, and export.json, which says how the files are called."""
    for name, content in model.travels.items():
        if name not in HOME:
            (folder / name).write_bytes(content)
    packages = ("torch", *FORMS[found.form].needs)
    tree = {
        "format": FORMAT, "form": found.form, "spec": model.spec.hash, "graphs": found.graphs,
        "without": found.without,
        "checked": {"calls": found.calls, "on": "rows of data" if real else "drawn input", "error": found.error,
                    "tolerance": TOLERANCE},
        "versions": {p: version(p) for p in packages},
    }  # fmt: skip
    (folder / "export.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
