"""`panformer atlas`: pages of what was built, claimed and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import InputError


def atlas(
    out: Annotated[Path | None, typer.Option(help="Folder for the pages: a new one, or an older atlas.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the pages until stopped.")] = False,
    port: Annotated[int, typer.Option(help="Of --serve; 0 takes a free one.", min=0, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Of --serve; the default is seen from this machine only.")] = "127.0.0.1",
    compared: Annotated[Path | None, typer.Option("--records", help="Folder of recorded comparisons.")] = None,
    raced: Annotated[Path | None, typer.Option("--benchmarks", help="Folder of recorded benchmarks.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Write the atlas: a page for every paper, part and comparison, from recorded files alone.

    \b
    Examples:
      panformer atlas --out atlas
      panformer atlas --serve --port 8000
    """
    import json
    import tempfile

    if out is None and not serve:
        raise InputError("atlas needs --out DIR for its pages, or --serve")
    for option, folder in (("--records", compared), ("--benchmarks", raced)):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{option} {folder}: no such folder")
    if serve:
        from ..core.errors import require

        for module in ("fastapi", "uvicorn"):
            require(module, "serve")
    from ..atlas import records
    from ..atlas.build import BENCHMARKS, build

    with tempfile.TemporaryDirectory() as scratch:
        home = out or Path(scratch) / "atlas"
        made = build(home, compared or records.HOME, raced or BENCHMARKS)
        if as_json:
            typer.echo(json.dumps({**made._asdict(), "out": str(home)}))
        else:
            typer.echo(
                f"{made.pages} pages of {made.papers} papers and {made.parts} parts in {made.seconds:.1f} s, "
                f"the largest {made.largest / 1000:.0f} kB: {home / 'index.html'}"
            )
        if serve:
            from ..atlas.serve import run

            run(home, host, port, typer.echo)
