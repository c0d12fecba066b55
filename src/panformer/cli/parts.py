"""`panformer parts`: what there is to compose, and what a mixer's matrix looks like."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError, unknown
from .spec import Set, set_key


def parts(
    name: Annotated[
        str | None, typer.Argument(help="A family (mixers, channels ...) or a part (mamba, norms/layer); default: all.")
    ] = None,
    matrix: Annotated[
        Path | None, typer.Option(help="Draw what each token takes from each other one in this mixer: .png, .svg, .pdf")
    ] = None,
    change: Set = None,
    length: Annotated[
        int, typer.Option(help="Tokens of the picture; of a lattice, a square one.", min=1, max=4096)
    ] = 32,
    width: Annotated[int, typer.Option(help="Width of the mixer that is drawn.", min=1)] = 32,
    seed: Annotated[int, typer.Option(help="Of its weights and of the tokens.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the parts of a family with their options, growth and source; or show one, and draw a mixer's matrix.

    Example: panformer parts mixers

    Example: panformer parts mamba --matrix mamba.png --set state=4
    """
    from ..core.part import FAMILIES, known

    one = name is not None and name not in FAMILIES
    found = _parts(name) if one or name is None else [(name, use) for use in known(name)]
    rows = [_row(family, use) for family, use in found]
    if one:
        if len(found) > 1:
            raise InputError(f"{name!r} is in several families; say which: {', '.join(map('/'.join, found))}")
        if matrix is not None:
            rows[0]["matrix"] = _draw(*found[0], matrix, change or [], length, width, seed)
        typer.echo(json.dumps(rows, indent=2) if as_json else _told(*found[0], rows[0]))
        return
    if matrix is not None:
        raise InputError("--matrix draws one mixer; name it: panformer parts mamba --matrix mamba.png")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "what it computes", "options", "source", box=None, pad_edge=False)
    for row in rows:
        table.add_row(f"{row['family']}/{row['use']}", row["what"], ", ".join(row["options"]), row["paper"])
    Console().print(table)


def _parts(name: str | None) -> list[tuple[str, str]]:
    """All parts of that name, `mamba` or `mixers/mamba`; without one, all parts."""
    from ..core.part import FAMILIES, known

    every = [(family, use) for family in FAMILIES for use in known(family)]
    found = [p for p in every if name in (None, p[1], "/".join(p))]
    if not found:
        near = difflib.get_close_matches(str(name), [use for _, use in every], 1)
        raise unknown("family or part", str(name), {*FAMILIES, *near})
    return found


def _row(family: str, use: str) -> dict[str, Any]:
    from ..core.families import Mixer
    from ..core.part import find

    cls = find(family, use)
    row: dict[str, Any] = {
        "family": family, "use": use, "what": (cls.__doc__ or "").strip().splitlines()[0], "paper": cls.paper,
    }  # fmt: skip
    if issubclass(cls, Mixer):
        row["streams"] = cls.streams
    return {**row, "options": sorted(cls.Config.model_fields)}


def _told(family: str, use: str, row: dict[str, Any]) -> str:
    """One part in full: its formula, its options with their defaults, an example, and what was drawn."""
    import inspect

    from ..core.part import find

    cls = find(family, use)
    lines = [f"{family}/{use}", "", inspect.getdoc(cls) or "", ""]
    for key, field in cls.Config.model_fields.items():
        default = "required" if field.is_required() else f"default {field.get_default(call_default_factory=True)!r}"
        lines.append(f"  {key}: {default}" + (f"; {field.description}" if field.description else ""))
    lines += ["", f"source: {cls.paper}"] if cls.paper else []
    lines.append(f"example: {json.dumps({'use': use, **cls.examples[0]})}")
    if "matrix" in row:
        lines += ["", f"{row['matrix']['file']}: {row['matrix']['says']}"]
    return "\n".join(lines)


def _draw(family: str, use: str, path: Path, change: list[str], length: int, width: int, seed: int) -> dict[str, Any]:
    """A mixer with the options of its first example, and what `change` sets, on tokens that are drawn from the seed."""
    if family != "mixers":
        raise InputError(f"--matrix draws mixers; {family}/{use} moves nothing between tokens")
    import copy
    import math

    import torch

    from ..core.part import config, find
    from ..measure import picture
    from ..measure.matrix import view

    picture.check(path)
    tree: dict[str, Any] = {"use": use, **copy.deepcopy(find("mixers", use).examples[0])}
    for item in change:
        set_key(tree, item)
    torch.manual_seed(seed)
    mixer = config("mixers", tree).build(width).double().eval()
    side = max(1, math.isqrt(length))
    grid = (side, side) if mixer.lattice else None
    x = torch.randn(side * side if grid else length, width, dtype=torch.float64)
    shown = view(mixer, x, grid)
    picture.draw(shown, path, json.dumps(tree))
    return {"file": str(path), "says": shown.says, "exact": shown.exact, "heads": len(shown.heads), "spec": tree}
