"""`panformer export`: a model as a file that runs without panformer."""

from __future__ import annotations

import json as plain_json
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError

ROWS = 64  # of the data that the file is compared on


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that choose, train or import wrote.")],
    out: Annotated[Path, typer.Option(help="New folder for the files.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="ONNX, run by onnxruntime.")] = False,
    openvino: Annotated[bool, typer.Option("--openvino", help="OpenVINO's own form.")] = False,
    torch_export: Annotated[bool, typer.Option("--torch-export", help="A program of torch.export.")] = False,
    data: Annotated[str | None, typer.Option(help="Data set or file whose rows it is compared on.")] = None,
    target: Annotated[str | None, typer.Option(help="Column that holds the label of --data.")] = None,
    graphs: Annotated[str, typer.Option(help="all, model (whole sequences) or step (the next tokens).")] = "all",
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Write a model as a file that runs without panformer, run it so, and keep it only if it answers the same.

    \b
    Examples:
      panformer export runs/best --onnx --out best-onnx --data digits
      panformer export smollm2 --openvino --out smollm2-ov --graphs step
    """
    chosen = [name for name, on in (("onnx", onnx), ("openvino", openvino), ("torch", torch_export)) if on]
    if len(chosen) != 1:
        raise InputError("export needs one of --onnx, --openvino, --torch-export")
    if target is not None and data is None:
        raise InputError("--target goes with --data")
    if graphs not in ("all", "model", "step"):
        raise InputError(f"--graphs is all, model or step, not {graphs!r}")
    from .. import export as home
    from ..choose.evaluate import rows_for

    done = home.export(model, chosen[0], out, rows_for(model, data, target, ROWS) if data else None, graphs)  # type: ignore[arg-type]
    facts = done._replace(folder=str(done.folder))._asdict()  # type: ignore[arg-type]
    if json:
        return print(plain_json.dumps(facts, indent=1))
    for graph in done.graphs.values():
        inputs = ", ".join(f"{i['name']} ({', '.join(map(str, i['shape']))})" for i in graph["inputs"][:4])
        more = len(graph["inputs"]) - 4
        print(f"{out / graph['file']}: {inputs}{f' and {more} more' if more > 0 else ''}")
    for name, why in done.without.items():
        print(f"no {name} graph: {why}")
    print(f"largest difference in {done.calls} calls without panformer: {done.error:.1e} of the largest number")
