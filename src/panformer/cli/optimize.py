"""`panformer optimize`: a copy of a model in the form that is fastest, or smallest, on this machine."""

from __future__ import annotations

import json as plain_json
from pathlib import Path
from typing import Annotated

import typer

ROWS = 32  # of the data that the copy is compared on


def optimize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that choose, train or import wrote.")],
    out: Annotated[Path, typer.Option(help="New folder for the copy.")],
    for_: Annotated[str, typer.Option("--for", help="latency, throughput or memory.")] = "throughput",
    tolerance: Annotated[float, typer.Option(help="Most that answers may change, of the largest answer.")] = 0.02,
    dtype: Annotated[str, typer.Option(help="same, or auto: bf16 where it is faster here.")] = "same",
    rows: Annotated[int | None, typer.Option(help="Tokens that a call brings; default: by --for.", min=1)] = None,
    norms: Annotated[
        str, typer.Option(help="same, or rms, crms: layer norms without a mean, an exact rewrite.")
    ] = "same",
    device: Annotated[str, typer.Option(help="Where it is to run: cpu, cuda.")] = "cpu",
    data: Annotated[str | None, typer.Option(help="Data set or file whose rows it is compared on.")] = None,
    target: Annotated[str | None, typer.Option(help="Column that holds the label of --data.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Write a copy of a model whose linear maps are in the form measured to be best here, with what each one brought.

    Without --data the answers are compared on drawn input.

    Example: panformer optimize runs/best --for memory --tolerance 0.05 --data digits --out best-small
    """
    from ..core.errors import InputError
    from ..core.layout import Batch, pack
    from ..model.io import load, save
    from ..runtime.optimize import optimize as run

    if out.exists():
        raise InputError(f"{out}: is there already; --out names a new folder")
    if target is not None and data is None:
        raise InputError("--target goes with --data")
    given, sample = load(model), None
    if data is not None:
        import torch

        from ..choose.evaluate import rows_for

        found = rows_for(model, data, target, ROWS)
        sample = (Batch(torch.stack(found)) if given.embed.reads == "image" else pack(found),)
    done = run(given, for_, sample, tolerance, None, dtype, rows, device, norms)  # type: ignore[arg-type]
    save(done.model, out)
    if json:
        return print(plain_json.dumps({"folder": str(out), **done.dump()}, indent=1))
    for edit in done.ledger:
        what = "norms" if edit.use in ("rms", "crms") else "maps"
        print(
            f"{edit.where}: {edit.use}, {edit.maps} {what}, {edit.before_us:.1f} to {edit.after_us:.1f} us "
            f"on {edit.rows} rows, {edit.bytes_saved / 1e6:+.3g} MB saved"
        )
    if not done.ledger:
        print("nothing was measured to be better than what is there")
    print(f"answers differ by {done.error:.1e} of the largest, at most {done.tolerance:g} was allowed: {out}")
