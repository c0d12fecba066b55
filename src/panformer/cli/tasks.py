"""`panformer tasks`: what can be compared on, and what it looks like."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def tasks(
    name: Annotated[
        str | None, typer.Argument(help="A suite or a task of one; without it all suites are listed.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the example that is shown.", min=0)] = 0,
    data: Annotated[bool, typer.Option("--data", help="Instead: the data sets there are, and whose they are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List the task suites of `panformer compare`, show one task with an example, or list the data sets.

    \b
    Examples:
      panformer tasks
      panformer tasks lra
      panformer tasks mqar --seed 3 --json
      panformer tasks --data
    """
    import json as plain_json

    from ..claims import suites

    if data:
        sets = _sets()
        return typer.echo(plain_json.dumps(sets, indent=1)) if json else _sources(sets)

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


def _sets() -> list[dict[str, Any]]:
    """Every set that needs no file: licence, origin, citation, hash, split, and how to install it where it is absent."""
    from ..data.builtin import BUILTIN

    return [
        {
            "name": name, "about": it.about, "licence": it.licence, "origin": it.origin, "citation": it.citation,
            "sha256": it.sha256, "split": it.split, "install": it.absent,
        }
        for name, it in BUILTIN.items()
    ]  # fmt: skip


def _sources(sets: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape

    say = Console(highlight=False, soft_wrap=True).print
    for it in sets:
        say(f"[bold]{it['name']}[/bold]: {escape(it['about'])}")
        say(f"  {escape(it['origin'])} · {escape(it['licence'])} · {escape(it['citation'])}")
        sealed = f"SHA-256 {it['sha256']}" if it["sha256"] else "no hash of its own: it is part of what is installed"
        say(f"  {escape(it['split'])} · {sealed}")
        if it["install"]:
            say(f"  absent; run: {escape(it['install'])}")


def _public(entry: Any) -> dict[str, Any]:
    return {
        "name": entry.name, "about": entry.about, "length_is": entry.size, "lengths": list(entry.lengths),
        "published": list(entry.published), "chance": [entry.guess(n) for n in entry.lengths], "source": entry.source,
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
    chance = f" · a constant answer reaches {_chance(told['chance'])}" if _chance(told["chance"]) else ""
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
        chance = _chance(_public(entry)["chance"])
        table.add_row(entry.name, _list(entry.lengths), _list(entry.published), chance, escape(entry.about))
    console.print(f"[bold]{suite.name}[/bold]: {escape(suite.about)}")
    console.print(table)
    console.print()


def _chance(told: list[float | None]) -> str:
    """One number, or one per length where they differ; nothing where the measure is an error."""
    return ", ".join(f"{c:.3g}" for c in dict.fromkeys(told) if c is not None)


def _list(numbers: Any) -> str:
    return ", ".join(map(str, numbers))


def _published(told: dict[str, Any]) -> str:
    return f" (published {_list(told['published'])})" if told["published"] else ""


def _short(values: Any, most: int = 60) -> str:
    if not isinstance(values, list):
        return str(values)
    return " ".join(map(str, values[:most])) + (f" ... ({len(values)} in all)" if len(values) > most else "")
