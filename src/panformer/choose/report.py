"""report.html, report.json, the card of the winner, and the table on the terminal: one outcome, told four times."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ..core.errors import require, writing
from ..data.raw import counted
from .baselines import TRIVIAL
from .finals import Entry

LOWER = ("rmse", "mase", "bits_per_byte")
MEANS = {
    "accuracy": "the share of rows answered right", "rmse": "the root of the mean squared error, in the target's units",
    "mase": "the mean absolute error, where 1 is that of repeating the value one season before",
    "bits_per_byte": "the bits that a byte of text costs when the model predicts it",
}  # fmt: skip
FACTS = {"parameters": "parameters", "mflop": "MFLOP of one row", "spec": "hash of its spec", "choice": "choice", "steps": "training steps"}  # fmt: skip
FAR = 3  # times the winner's error, beyond which a naive forecast would squeeze all others together
BULK = "scores"  # of a run: for the bootstrap, kept in results.sqlite


def write(out: Path, told: dict[str, Any]) -> None:
    """report.json and report.html, each whole or not at all."""
    slim = {**told, "contenders": [{**e, "runs": [_without(r) for r in e["runs"]]} for e in told["contenders"]]}
    replace_file(out / "report.json", json.dumps(slim, indent=1) + "\n")
    replace_file(out / "report.html", html(told, str(out)))


def html(told: dict[str, Any], folder: str) -> str:
    """The report as one file without outside parts and without scripts."""
    jinja2 = require("jinja2", "choose")
    from markupsafe import Markup

    from . import plots

    measure, batch = told["data"]["measure"], str(told["options"]["batch"])
    lower, front = measure in LOWER, told["outcome"]["front"]
    rows = ranked(told)
    finals = [e for e in rows if e["kind"] == "candidate"]
    most = FAR * _winner(told)["test"]["mean"] if measure == "mase" else float("inf")
    shown = [
        e for e in rows if e["name"] not in TRIVIAL and e["test"]["mean"] <= most
    ] or rows  # others would squeeze all
    drawn = {
        "latency": plots.against(shown, front, "latency", lower, measure),
        "size": plots.against(shown, front, "size", lower, measure),
        "spread": plots.spread(shown, measure),
        "curves": plots.curves(finals, measure) if finals else "",
    }
    winner = _winner(told)
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    )
    return page.render(
        **{n: told[n] for n in ("data", "options", "outcome", "spent", "machine", "versions")},
        excluded=_by_reason(told["excluded"]), folder=shlex.quote(str(Path(folder) / "best")), measure=measure, means=MEANS[measure], lower=lower, batch=batch, rows=rows, limits=_limits(told), guess=[e for e in rows if e not in shown],
        plots={n: Markup(svg) for n, svg in drawn.items()}, searched=_searched(told), total=sum(told["spent"].values()),
        further=[(n, flat(v)) for n, v in winner["runs"][winner["best"]]["further"].items()],
        winner_facts=[(said, flat(winner[n])) for n, said in FACTS.items() if n in winner],
    )  # fmt: skip


def ranked(told: dict[str, Any]) -> list[Entry]:
    """Contenders with their rank: those that fit first, then those over the limits."""
    order = {name: i for i, name in enumerate(told["outcome"]["ranking"])}
    rows = sorted(told["contenders"], key=lambda e: order.get(e["name"], len(order)))
    return [{**e, "rank": order[e["name"]] + 1 if e["name"] in order else ""} for e in rows]


def card(winner: Entry, told: dict[str, Any]) -> str:
    """README.md of the model folder: what it is, how good, how it was found, what it must not be used for."""
    data, measure, test = told["data"], told["data"]["measure"], winner["test"]
    latency = winner["latency"]["1"]
    span = "" if test["low"] is None else f" (95% interval {test['low']:.4g} to {test['high']:.4g})"
    lines = [
        f"# {winner['name']} on {data['name']}", "",
        f"{data['task'].capitalize()}, {data['inputs']}. Chosen by `panformer choose` as the {winner['kind']} with the "
        f"best validation {measure} among {len(told['contenders'])} contenders.", "",
        "| | |", "|---|---|",
        f"| what | {winner['kind']}: {winner['note']} |",
        f"| validation {measure} | {winner['valid']:.4g} |",
        f"| test {measure}, mean of {len(winner['runs'])} run(s) | {test['mean']:.4g}{span} |",
        f"| this run's test {measure} | {winner['runs'][winner['best']]['test']:.4g} |",
        f"| latency of one row | {latency['median']:.3g} ms median, {latency['p95']:.3g} ms p95 |",
        f"| size | {winner['size_mb']:.3g} MB |",
        *([f"| peak memory | {winner['memory_mb']:.2f} MB |"] if winner.get("memory_mb") is not None else []),
        *([f"| parameters | {winner['parameters']:,} |"] if "parameters" in winner else []),
        f"| data | {data['name']}, hash {data['hash']}, split seed {told['options']['seed']} |",
        f"| machine | {told['machine']['cpu']}, {counted(told['machine']['threads'], 'thread')} |",
        "| versions | " + ", ".join(f"{n} {v}" for n, v in told["versions"].items()) + " |", "",
        *[f"- {line}" for line in told["outcome"]["verdict"]], "",
        "The test split took no part in the choice. Numbers hold for data like that of the split; they say nothing "
        "about data that was gathered in another way.", "",
        "`panformer predict THIS_FOLDER INPUT` answers new input, `panformer eval THIS_FOLDER DATA` measures it.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def terminal(told: dict[str, Any], out: Path) -> None:
    """The table of contenders and the verdict, on stdout."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    measure, batch, front = told["data"]["measure"], str(told["options"]["batch"]), told["outcome"]["front"]
    better = "lower" if measure in LOWER else "higher"
    table = Table(title=f"{told['data']['name']}: {measure}, {better} is better", title_justify="left")
    for name in ("", "contender", "valid", "test, 95% interval", "ms/row", "MB", "peak MB", ""):
        table.add_column(name, justify="left" if name == "contender" else "right", no_wrap=True)
    for e in ranked(told):
        mean, low, high = (e["test"][n] for n in ("mean", "low", "high"))
        span = f"{mean:.4g}" if low is None else f"{mean:.4g}  {low:.4g} to {high:.4g}"
        peak = f"{e['memory_mb']:.1f}" if e.get("memory_mb") is not None else ""
        note = "over the limits" if e["name"] in told["outcome"]["over"] else "pareto" if e["name"] in front else ""
        style = "bold" if e["name"] == told["outcome"]["winner"] else "" if e["kind"] == "candidate" else "dim"
        cells = (f"{e['valid']:.4g}", span, f"{e['latency']['1']['median']:.3g}", f"{e['size_mb']:.3g}", peak, note)
        table.add_row(str(e["rank"]), e["name"], *cells, style=style)
    console.print(table)
    if batch != "1":
        told_n = ", ".join(f"{e['name']} {e['latency'][batch]['median']:.3g}" for e in ranked(told))
        console.print(f"ms for {batch} rows: {told_n}")
    for line in told["outcome"]["verdict"]:
        console.print(line, soft_wrap=True)
    console.print(f"report: {out / 'report.html'}   model: {out / 'best'}", soft_wrap=True)


def _searched(told: dict[str, Any]) -> list[dict[str, Any]]:
    sign = 1 if told["data"]["measure"] in LOWER else -1
    found: dict[str, list[dict[str, Any]]] = {}
    for body in told["search"].values():
        found.setdefault(body["mixer"], []).append(body)
    rows = []
    for mixer, bodies in found.items():
        done = sorted((b for b in bodies if b["state"] == "complete"), key=lambda b: sign * b["value"])
        best = done[0] if done else None
        value, choice = (f"{best['value']:.4g}", flat(best["choice"])) if best else ("–", bodies[0].get("why", ""))
        rows.append({"mixer": mixer, "trials": len(bodies), "complete": len(done), "best": value, "choice": choice})
    return rows


def _by_reason(excluded: dict[str, str]) -> list[tuple[str, list[str]]]:
    """(why, what was left out for it): a reason of many stands once."""
    found: dict[str, list[str]] = {}
    for name, why in excluded.items():
        found.setdefault(why, []).append(name)
    return sorted(found.items(), key=lambda entry: len(entry[1]))


def _winner(told: dict[str, Any]) -> Entry:
    return next(e for e in told["contenders"] if e["name"] == told["outcome"]["winner"])


def _limits(told: dict[str, Any]) -> str:
    words = {"latency_ms": "latency {:g} ms", "memory_mb": "peak memory {:g} MB", "size_mb": "size {:g} MB"}
    return ", ".join(words[n].format(v) for n, v in told["options"]["limits"].items() if v is not None)


def flat(value: Any) -> str:
    """A plain tree in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{n}: {flat(v)}" for n, v in value.items())
    if isinstance(value, list):
        return "; ".join(map(flat, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _without(run: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in run.items() if n != BULK}


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
