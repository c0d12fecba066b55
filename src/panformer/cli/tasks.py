"""`panformer tasks`: what can be compared on, and what it looks like."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def tasks(
    name: Annotated[
        str | None, typer.Argument(help="A suite or a task of one; without it all suites are listed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the example that is shown.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the task suites of `panformer compare`, or show one task with an example.

    \b
    Examples:
      panformer tasks
      panformer tasks lra
      panformer tasks mqar --seed 3 --json
    """
    import json as plain_json

    from ..claims import suites

    found = suites.find(name) if name else list(suites.SUITES.values())
    if isinstance(found, suites.Entry):
        told = {
            **_public(found),
            "task": dict(found.task),
            "train": dict(found.train),
            "example": _example(found, seed),
        }
        return typer.echo(plain_json.dumps(told, indent=1)) if json else _one(told)
    listed = found if isinstance(found, list) else [found]
    if json:
        return typer.echo(plain_json.dumps([{"suite": s.name, "about": s.about, "tasks": [_public(e) for e in s.entries]} for s in listed], indent=1))  # fmt: skip
    for suite in listed:
        _table(suite)


def _public(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name, "about": entry.about, "length_is": entry.size, "lengths": list(entry.lengths),
        "published": list(entry.published), "chance": entry.chance, "source": entry.source,
    }  # fmt: skip


def _example(entry: Any, seed: int) -> dict[str, Any]:
    """One row of a batch at the shortest length, and how many numbers it has in each direction."""
    import torch

    from ..claims import registry

    batch = registry.task(entry.at(entry.lengths[0])).batch(torch.Generator().manual_seed(seed), 1)
    end = batch.x.shape[1] if batch.lengths is None else int(batch.lengths[0])
    x = batch.x[0, :end] if batch.x.ndim < 4 else batch.x[0]
    y = None if batch.y is None else batch.y[0]
    return {"shape": list(x.shape), "input": _numbers(x), "asked": None if y is None else _numbers(y)}


def _numbers(values: Any) -> Any:
    return [round(v, 3) for v in values.flatten().tolist()] if values.is_floating_point() else values.tolist()


def _one(told: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    say = Console(highlight=False).print
    chance = "" if told["chance"] is None else f" · guessing reaches {told['chance']:.3g}"
    say(f"[bold]{escape(told['name'])}[/bold]: {escape(told['about'])}")
    say(f"{escape(told['source'])} · {told['length_is']} {_list(told['lengths'])}{_published(told)}{chance}")
    say(f"task {told['task']} · training {told['train']}")
    shown = told["example"]
    say(f"\ninput {shown['shape']}\n  {_short(shown['input'])}")
    if shown["asked"] is not None:
        say(f"asked (-100: nothing is)\n  {_short(shown['asked'])}")
    say(f"\ncompare on it: panformer compare {told['name']} --with attention,mamba")


def _table(suite: Any) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("task", "lengths", "published", "chance", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for entry in suite.entries:
        chance = "" if entry.chance is None else f"{entry.chance:.3g}"
        table.add_row(entry.name, _list(entry.lengths), _list(entry.published), chance, escape(entry.about))
    console.print(f"[bold]{suite.name}[/bold]: {escape(suite.about)}")
    console.print(table)
    console.print()


def _list(numbers: Any) -> str:
    return ", ".join(map(str, numbers))


def _published(told: dict[str, Any]) -> str:
    return f" (published {_list(told['published'])})" if told["published"] else ""


def _short(values: Any, most: int = 60) -> str:
    if not isinstance(values, list):
        return str(values)
    return " ".join(map(str, values[:most])) + (f" ... ({len(values)} in all)" if len(values) > most else "")
