"""`panformer parts`: what there is to compose."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def parts(
    family: Annotated[str | None, typer.Argument(help="mixers, channels, positions, norms ...; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the parts of a family with their options, growth and source.

    Example: panformer parts mixers
    """
    from ..core.families import Mixer
    from ..core.part import FAMILIES, find, known

    rows = []
    for name in [family] if family else FAMILIES:
        for use in known(name):
            cls = find(name, use)
            row: dict[str, Any] = {
                "family": name,
                "use": use,
                "what": (cls.__doc__ or "").strip().splitlines()[0],
                "paper": cls.paper,
            }
            if issubclass(cls, Mixer):
                row["streams"] = cls.streams
            rows.append({**row, "options": sorted(cls.Config.model_fields)})
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "what it computes", "options", "source", box=None, pad_edge=False)
    for row in rows:
        table.add_row(f"{row['family']}/{row['use']}", row["what"], ", ".join(row["options"]), row["paper"])
    Console().print(table)
