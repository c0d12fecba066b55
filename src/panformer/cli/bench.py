"""`panformer bench`: our speed beside a peer's, in the same run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError, unknown


def bench(
    suites: Annotated[list[str] | None, typer.Argument(help="encoder, train; default: all.")] = None,
    rounds: Annotated[int, typer.Option(help="Counted rounds; the median is reported.", min=1)] = 7,
    threads: Annotated[int | None, typer.Option(help="Torch threads; default: torch's own choice.", min=1)] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Folder for one JSON file per suite.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Race panformer against transformers on the same weights and inputs.

    Example: panformer bench train --rounds 5 --out benchmarks
    """
    import torch

    from ..bench.race import machine, write
    from ..bench.suites import SUITES

    for name in suites or []:
        if name not in SUITES:
            raise unknown("benchmark", name, SUITES)
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {device}: this machine has {'cpu, cuda' if torch.cuda.is_available() else 'cpu'}")
    if threads:
        torch.set_num_threads(threads)
    for name in suites or SUITES:
        result = SUITES[name](rounds, device)
        if out is not None:
            write(out / (f"{name}.json" if device == "cpu" else f"{name}-{device}.json"), result)
        if as_json:
            typer.echo(json.dumps({**result, "machine": machine()}, indent=2, default=vars))
            continue
        typer.echo(f"{name}: {result['what']} {result['size']}; outputs differ by {result['gap_fp32']:.1e} in fp32")
        for row in result["rows"]:
            typer.echo(
                f"  {row['precision']}  panformer {row['panformer']:>9.1f} {row['unit']}   "
                f"transformers {row['transformers']:>9.1f}   {row['speedup']:.2f}x   "
                f"{row['share_of_matmul_limit']:.0%} of a plain matrix product's rate"
            )
