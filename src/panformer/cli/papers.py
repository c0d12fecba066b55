"""`panformer papers` and `panformer check`: look papers up, and run the checks of those that are built."""

from __future__ import annotations

import json as plain_json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ..core.errors import InputError

if TYPE_CHECKING:
    from ..papers.catalogue import Row
    from ..papers.lengths import Table as Lengths

JSON = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
COLOUR = {"upheld": "green", "not upheld": "red", "inconclusive": "yellow"}
INK = {"upheld": "32", "not upheld": "31", "inconclusive": "33"}  # the same on a terminal, without a library
HEADS = ("id", "slug", "family", "status", "title")


class _ListFirst(TyperGroup):
    """`papers mamba` means `papers list mamba`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = args[:1] and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if known else ["list", *args])


app = typer.Typer(
    cls=_ListFirst,
    no_args_is_help=False,
    help="Look papers up: `papers [QUERY]` lists them (all options: `papers list --help`), `papers show SLUG` tells one, "
    "`papers lengths` tabulates what was tested longer than trained.\n\n"
    "Examples: `panformer papers`, `panformer papers rotary --json`, `panformer papers show mamba`",
)


@app.command("list")
def papers(
    query: Annotated[list[str] | None, typer.Argument(metavar="[QUERY]", help="Words to look for.")] = None,
    family: Annotated[str | None, typer.Option(help="Only this folder: mixers, positions ...")] = None,
    area: Annotated[str | None, typer.Option(help="Only this area: foundation, attention, vision ...")] = None,
    status: Annotated[str | None, typer.Option(help="planned, built or checked.")] = None,
    json: JSON = False,
) -> None:
    """List the papers: what is planned, built and checked, and the verdicts.

    \b
    Examples:
      panformer papers
      panformer papers "linear attention" --status checked
      panformer papers --area foundation --json
    """
    from ..papers import catalogue, listing

    found = catalogue.select(listing.listed(), " ".join(query or []), family, area, status)
    if json:
        return _print([row.public() for row in found])
    _table(found)


@app.command("show")
def show(
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Slug or id of a paper.")],
    json: JSON = False,
) -> None:
    """Show one paper: what it claims, how that is checked and what came out.

    Example: panformer papers show fnet
    """
    from ..papers import catalogue

    row = catalogue.find(slug)
    if json:
        entry = row.entry.model_dump(mode="json", by_alias=True, exclude_defaults=True) if row.entry else None
        facts = {name: getattr(row, name) for name in ("centrality", "mechanism", "claim", "check", "reference")}
        return _print({**row.public(), **facts, "entry": entry, "evidence": row.evidence, "fault": row.fault or None})
    _page(row)


@app.command("lengths")
def lengths(
    plot: Annotated[
        Path | None, typer.Option(help="Draw all tables as one picture into this .svg or .png file.")
    ] = None,
    json: JSON = False,
) -> None:
    """What comparisons and evidence say of models read at longer lengths than trained: all positions of one task in one table.

    \b
    Examples:
      panformer papers lengths
      panformer papers lengths --plot lengths.svg
    """
    from ..atlas import records
    from ..core.errors import require
    from ..papers import catalogue
    from ..papers.lengths import every, overview

    told = list(records.read(records.HOME).values())
    found = every(told, catalogue.rows())
    if plot is not None:
        for module in ("scipy", "matplotlib"):
            require(module, "choose")
        from ..papers import plots

        plots.write(found, plot)
    if json:
        return _print([table.dump() for table in found])
    for table in found:
        _lengths(table)
    _measures(*overview(told))


def check(
    slugs: Annotated[list[str] | None, typer.Argument(metavar="[SLUG]...", help="Which papers, by slug or id.")] = None,
    family: Annotated[str | None, typer.Option(help="All papers of a folder that are built.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All papers that are built.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the evidence; default: the catalogue's own.")] = None,
    json: JSON = False,
) -> None:
    """Run the checks of a paper and record the evidence. The verdict may well be `not upheld`.

    \b
    Examples:
      panformer check fnet
      panformer check --family positions --out my-evidence --json
    """
    from ..papers import catalogue

    rows = _chosen(slugs or [], family, every, catalogue.rows())
    from ..claims import evidence
    from ..claims.check import check as run

    done = []
    for row in rows:
        found = run(row, say=lambda line: print(line, file=sys.stderr, flush=True))
        path = evidence.write(found, out or catalogue.EVIDENCE)
        done.append(found)
        if not json:
            _verdict(found, path)
    if json:
        _print(done)


def _chosen(slugs: list[str], family: str | None, every: bool, among: tuple[Row, ...]) -> list[Row]:
    """The rows to run: named ones must be built, a family or the whole is searched for those that are."""
    from ..papers import catalogue

    if bool(slugs) + bool(family) + every != 1:
        raise InputError("check needs one or more SLUG, or --family F, or --all; see: panformer papers --status built")
    if family or every:
        rows = [row for row in catalogue.select(among, family=family) if row.entry]
        if not rows:
            raise InputError(f"family {family!r} has no built paper yet")
        return rows
    rows = [catalogue.find(slug, among) for slug in slugs]
    for row in rows:
        if row.entry is None:
            raise InputError(
                row.fault or f"{row.slug} is planned: nothing to run yet; see: panformer papers --status built"
            )
    return rows


def _print(tree: Any) -> None:
    print(plain_json.dumps(tree, indent=1, ensure_ascii=False))


def _table(rows: tuple[Row, ...]) -> None:
    """Plain lines, which a listing of hundreds of rows prints twenty times as fast as a table that measures its cells."""
    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if tty else 160
    cells = [(str(row.id), row.slug, row.family, row.verdict or row.status) for row in rows]
    wide = [max((len(c[i]) for c in (HEADS[:4], *cells)), default=0) for i in range(4)]
    room = max(width - sum(wide) - 8, 10)
    lines = [_cells(HEADS, wide, "1" if tty else "")]
    for row, cell in zip(rows, cells, strict=True):
        title = row.title if len(row.title) <= room else f"{row.title[: room - 1]}…"
        lines.append(_cells((*cell, title), wide, "", INK.get(row.verdict or "", "") if tty else ""))
    counts = {status: sum(row.status == status for row in rows) for status in ("checked", "built", "planned")}
    lines.append(f"{len(rows)} papers: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    lines += [f"{_inked('broken entry', '31' if tty else '')} {row.fault}" for row in rows if row.fault]
    print("\n".join(lines))


def _cells(cells: tuple[str, ...], wide: list[int], ink: str, state: str = "") -> str:
    """Columns side by side; the fourth, a row's state, in an ink of its own."""
    padded = [_inked(c, state if i == 3 else "") + " " * (n - len(c)) for i, (c, n) in enumerate(zip(cells, wide))]
    return _inked("  ".join([*padded, cells[-1]]).rstrip(), ink)


def _inked(text: str, ink: str) -> str:
    return f"\x1b[{ink}m{text}\x1b[0m" if ink else text


def _lengths(found: Lengths) -> None:
    from rich.console import Console
    from rich.markup import escape

    say = Console(width=None if sys.stdout.isatty() else 160, highlight=False).print
    say(f"[bold]{escape(found.title)}[/bold] · {escape(found.about)}")
    _measures(found.heads, found.rows())
    say(f"from {escape(found.origin)}\n")


def _measures(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left", no_wrap=not i)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(width=None if sys.stdout.isatty() else 180, highlight=False).print(table)


def _page(row: Row) -> None:
    from rich.console import Console
    from rich.markup import escape

    say = Console(highlight=False).print
    say(f"[bold]{escape(row.title)}[/bold]")
    say(
        f"id {row.id} · {row.slug} · {row.family} · {row.area} · {row.modality} · {row.status} {_coloured(row.verdict)}"
    )
    if row.fault:
        say(f"[red]broken entry[/red] {escape(row.fault)}")
    claim = row.entry.claim if row.entry else row.claim
    for name, text in (("mechanism", row.mechanism), ("claim", claim), ("reference", row.reference)):
        say(f"\n[bold]{name}[/bold]  {escape(text)}")
    if row.entry is None:
        return say(f"\n[bold]planned check[/bold]  {escape(row.check)}")
    if row.entry.note:
        say(f"\n[bold]note[/bold]  {escape(row.entry.note)}")
    found = row.evidence["checks"] if row.evidence else []
    say("\n[bold]checks[/bold]")
    for i, one in enumerate(row.entry.checks):
        result = f"{_coloured(found[i]['verdict'])}: {escape(found[i]['reason'])}" if found else "not run yet"
        say(f"  {i + 1}. {one.judge}  {escape(one.about)}\n     {result}")
    if row.evidence:
        e = row.evidence
        say(
            f"\n{e['date']} · {e['machine']['cpu']}, {e['machine']['threads']} threads · torch {e['versions']['torch']}"
        )
    else:
        say(f"\nrun it: panformer check {row.slug}")


def _verdict(found: dict[str, Any], path: Path) -> None:
    from rich.console import Console

    Console(highlight=False).print(f"{found['slug']}: {_coloured(found['verdict'])}  {found['seconds']:.0f} s  {path}")


def _coloured(verdict: str | None) -> str:
    return f"[{COLOUR[verdict]}]{verdict}[/{COLOUR[verdict]}]" if verdict else ""
