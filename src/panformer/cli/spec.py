"""`panformer spec`: what a model is made of, before it is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ..core.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Show, validate and describe specs.")

Source = Annotated[str, typer.Argument(help="A preset name, or a .yaml or .json file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one key: --set width=128, --set embed.vocab=500")]


@app.command()
def show(
    spec: Source,
    change: Set = None,
    length: Annotated[int | None, typer.Option(help="Length the cost is given for; default: 128.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Print a spec resolved, layer by layer, with its cost.

    Example: panformer spec show bert --set width=128
    """
    from ..core.spec import resolve
    from ..measure.cost import of_model
    from ..model.build import build

    read = resolve(_read(spec, change))
    length = length or min(128, getattr(read.embed, "length", 128))
    cost = of_model(build(read, seed=0), length)
    if as_json:
        typer.echo(
            json.dumps({"hash": read.hash, "spec": read.dump(), "length": length, "cost": cost.dump()}, indent=2)
        )
        return
    typer.echo(yaml.safe_dump(read.dump(), sort_keys=False, width=110).rstrip())
    typer.echo(f"\n# {read.hash} · {len(read.layers)} layers · {cost.parameters:,} parameters")
    typer.echo(
        f"# at length {length}: {cost.flops / 1e6:,.1f} MFLOP, {cost.peak / 2**20:,.1f} MiB of activations at once"
    )
    for i, placed in enumerate(read.layers):
        parts = [getattr(placed.layer, n) for n in ("mixer", "cross", "channel")]
        names = " + ".join(p.part.use() for p in parts if p is not None)
        ties = f"  weights of layer {placed.tie}" if placed.tie is not None else ""
        reads = "".join(f"  {name} of layer {j}" for name, j in placed.reads.items())
        typer.echo(f"# layer {i:>2}  width {placed.width}  {names}{ties}{reads}")


@app.command()
def validate(specs: Annotated[list[str], typer.Argument(help="Files or presets.")]) -> None:
    """Check specs: keys, values, and whether the parts fit together.

    Example: panformer spec validate my-model.yaml
    """
    import torch

    from ..model.build import build

    for spec in specs:
        with torch.device("meta"):
            model = build(_read(spec, None))
        typer.echo(f"{spec}: ok ({model.spec.hash})")


@app.command()
def schema() -> None:
    """Print the JSON schema of a spec, for editors.

    Example: panformer spec schema > panformer.schema.json
    """
    from ..core.spec import Spec

    typer.echo(json.dumps(Spec.model_json_schema(), indent=2))


@app.command()
def presets() -> None:
    """List the presets.

    Example: panformer spec presets
    """
    from ..core.spec import read

    for path in sorted((Path(__file__).parent.parent / "presets").glob("*.yaml")):
        typer.echo(f"{path.stem:16} {read(path.stem).about}")


def _read(source: str, change: list[str] | None) -> Any:
    from ..core.spec import locate, read
    from ..core.tree import read_tree

    tree = read_tree(locate(source))
    for item in change or []:
        set_key(tree, item)
    return read(tree)


def set_key(tree: Any, item: str) -> None:
    """Apply `a.b=c` to a tree; numbers in the path index lists."""
    path, sign, value = item.partition("=")
    if not sign or not path:
        raise InputError(f"--set {item}: write KEY=VALUE, for example width=128")
    *way, last = path.split(".")
    at = tree
    for key in way:
        try:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        except (ValueError, IndexError, AttributeError):
            raise InputError(f"--set {item}: nothing at {key!r}") from None
    try:
        new = yaml.safe_load(value)
        if isinstance(at, list):
            at[int(last)] = new
        else:
            at[last] = new
    except (ValueError, IndexError, TypeError, yaml.YAMLError):
        raise InputError(f"--set {item}: cannot be set there") from None
