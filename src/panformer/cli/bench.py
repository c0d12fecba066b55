"""`panformer bench`: our speed beside that of others, in the same run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError, unknown


def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(help="decode, dense, encoder, layer, linear, long, pages, step, train, vision; default: all."),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Install others' runtimes in an environment of theirs.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Counted rounds; the median is reported.", min=1)] = 5,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each contestant; default: torch's own.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Folder for one JSON file per suite.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Race panformer against others on the same weights and inputs.

    Example: panformer bench encoder --peers --rounds 5 --threads 2 --out benchmarks
    """
    import torch

    from ..bench.contest import Plan
    from ..bench.race import machine, write
    from ..bench.suites import SUITES
    from ..core.memory import keep_freed

    for name in suites or []:
        if name not in SUITES:
            raise unknown("benchmark", name, SUITES)
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"--device {device}: this machine has {'cpu, cuda' if torch.cuda.is_available() else 'cpu'}")
    if threads:
        torch.set_num_threads(threads)
    keep_freed()
    plan = Plan(rounds, torch.get_num_threads(), device, peers, lambda line: typer.echo(line, err=True))
    for name in suites or SUITES:
        keep = partial(write, out / (f"{name}.json" if device == "cpu" else f"{name}-{device}.json")) if out else None
        result = SUITES[name](replace(plan, keep=keep or plan.keep))
        if keep:
            keep(result)
        if as_json:
            typer.echo(json.dumps({**result, "machine": machine()}, indent=2, default=vars))
        else:
            _tell(result, plan.threads)


def _tell(result: Mapping[str, Any], threads: int) -> None:
    typer.echo(f"{result['suite']}: {result['what']} Threads: {threads}; medians of {result['rounds']} rounds.")
    task = None
    for row in result["rows"]:
        if row["task"] != task:
            task = row["task"]
            typer.echo(f" {task}")
        name = f"{row['contestant']} {row.get('form', '')}".strip()
        share, of = row.get("share_of_matmul_limit"), "a plain matrix product"
        if "share_of_bandwidth" in row:
            share, of = row["share_of_bandwidth"], "reading the weights"
        typer.echo(
            f"  {name:<28} {row['precision']:<7} {row['rate']:>12.1f} {row['unit']:<12} "
            f"{'' if share is None else f'{share:>5.0%} of {of}'}  {_gap(row)}"
        )
    for met in result["goals"]:
        typer.echo(
            f" {'reached' if met['met'] else 'MISSED '} {met['task']}: {met['goal']}: {met['reached']:.3g}, "
            f"wanted {met['wanted']:.3g}{' (' + met['against'] + ')' if 'against' in met else ''}"
        )
    for told in result.get("growth", []):
        said = ", ".join(f"{k} {v}" for k, v in told.items() if k not in ("task", "declared") and v is not None)
        typer.echo(f" {told['task']}: declared {told['declared']}; exponents measured: {said}")
    for name, why in result["missing"].items():
        typer.echo(f" not run: {name}: {why}")


def _gap(row: Mapping[str, Any]) -> str:
    if "min_cosine" in row:
        return f"cosine {row['min_cosine']:.4f} to {row['mean_cosine']:.4f} (mean), probe {row['probe_points']:+.1f}"
    error = row.get("error", row.get("error_fp32"))
    return "" if error is None else f"error {error:.1e}"
