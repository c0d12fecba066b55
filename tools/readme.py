"""Write the measured parts of README.md and of pages in docs/ from the runs that measured them: `python tools/readme.py DEMO_FOLDER`.

Each part stands between `<!-- name -->` and `<!-- /name -->`; what no run has written stays as it was.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path

from panformer.atlas import nulls, records
from panformer.atlas.tables import Table
from panformer.choose import plots, report
from panformer.cli.papers import papers
from panformer.compare import report as tables
from panformer.papers import catalogue, lengths
from panformer.papers import plots as length_plots

ROOT = Path(__file__).parent.parent
RACES = ("decode", "encoder", "train", "vision")  # what the front page shows; all else is in docs/speed.md


def demo(folder: Path) -> str:
    """The table that the run printed, and its plot as docs/demo.svg."""
    told = json.loads((folder / "report.json").read_text())
    measure = told["data"]["measure"]
    svg = plots.against(told["contenders"], told["outcome"]["front"], "latency", measure in report.LOWER, measure)
    (ROOT / "docs" / "demo.svg").write_text(svg.replace("currentColor", "#777"))  # readable on light and on dark
    text = _printed(lambda: report.terminal(told, Path("demo-run")))
    return f"```\n$ panformer choose digits --minutes {told['options']['minutes']:g} --out demo-run\n{text}\n```\n\n![test accuracy against latency](docs/demo.svg)"


def compared() -> str:
    """The table of one recorded comparison."""
    path = records.HOME / "mqar.json"
    if not path.is_file():
        return ""
    told = json.loads(path.read_text())
    return f"```\n$ {told['command']}\n{_printed(lambda: tables.terminal(told))}\n```"


def itself() -> str:
    """The recorded studies of an arm against itself."""
    return "\n".join(nulls.markdown(list(records.nulls(records.HOME).values())))


def listing() -> str:
    text = _printed(lambda: papers(area="foundation"))
    lines = [line.rstrip()[:118] for line in text.splitlines()]
    return "```\n$ panformer papers --area foundation\n" + "\n".join(lines) + "\n```"


def verdicts() -> str:
    """A line per area: how many of its papers were checked, and how they came out."""
    words = ("upheld", "not upheld", "inconclusive")
    lines = ["| area | papers | checked | upheld | not upheld | inconclusive |", "|---|---|---|---|---|---|"]
    rows = catalogue.rows()
    for area in [*sorted({row.area for row in rows}), None]:
        some = [row for row in rows if area in (None, row.area)]
        found = Counter(row.verdict for row in some if row.evidence)
        if found:
            counts = " | ".join(str(found[v] or "") for v in words)
            lines.append(f"| {area or '**all**'} | {len(some)} | {found.total()} | {counts} |")
    return "\n".join(lines)


def claims() -> str:
    """A line per check that ran."""
    lines = ["| paper | verdict | check | what was found |", "|---|---|---|---|"]
    for row in catalogue.rows():
        for i, check in enumerate(row.evidence["checks"] if row.evidence else []):
            name = (_link(row, "../src/"), f"**{row.verdict}**") if not i else ("", "")
            lines.append(
                f"| {name[0]} | {name[1]} | {check['about'] or check['judge']} | {check['verdict']}: {check['reason']} |"
            )
    return "\n".join(lines)


def longer() -> str:
    """A table for each task and training whose models were tested longer than trained, and docs/lengths.svg."""
    told = list(records.read(records.HOME).values())
    found = lengths.every(told, catalogue.rows())
    length_plots.write(found, ROOT / "docs" / "lengths.svg")
    out = ["## All positions, side by side", "", *Table("", *lengths.overview(told)).markdown(), ""]
    for t in found:
        out += [
            f"## {t.title}",
            "",
            f"{t.about}. From {t.origin}.",
            "",
            *Table(t.title, t.heads, t.rows()).markdown(),
            "",
        ]
    return "\n".join(out[:-1])


def _link(row, home: str) -> str:
    return f"[{row.slug}]({home}panformer/papers/evidence/{row.slug}.json)"


def speed() -> str:
    lines = [
        "| job | precision | panformer | fastest other | ratio | share of the machine's limit |",
        "|---|---|---|---|---|---|",
    ]
    runs = []
    for name in RACES:
        path = ROOT / "benchmarks" / f"{name}.json"
        if path.is_file():
            told = json.loads(path.read_text())
            at = told["machine"]
            runs.append(f"{name} on {at['processor']}, {at['threads']} threads, {at['date'][:10]}")
            lines += _raced(told["rows"])
    if not runs:
        return ""
    limit = "The limit is a plain matrix product's rate, or for decoding that of reading the weights."
    return "\n".join([*lines, "", f"Medians of interleaved rounds: {'; '.join(runs)}. {limit}"])


def _raced(rows) -> list[str]:
    lines = []
    for mine in rows:
        like = [r for r in rows if all(r.get(k) == mine.get(k) for k in ("task", "precision", "length"))]
        theirs = [r for r in like if r["contestant"] != "panformer"]
        if mine["contestant"] == "panformer" and theirs:
            best = max(theirs, key=lambda r: r["rate"])
            share = mine.get("share_of_matmul_limit", mine.get("share_of_bandwidth"))
            lines.append(
                f"| {mine['task']}{', ' + mine['form'] if 'length' in mine else ''} | {mine['precision']} "
                f"| {mine['rate']:.4g} {mine['unit']} | {best['rate']:.4g} ({best['contestant']}) "
                f"| {mine['rate'] / best['rate']:.2f}x | {'' if share is None else f'{share:.0%}'} |"
            )
    return lines


def _printed(work) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        work()
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).strip("\n")


def fill(path: Path, parts: dict[str, str]) -> None:
    """Put each part between its marks."""
    text = path.read_text()
    for name, new in parts.items():
        if new:
            text = re.sub(
                f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda m, n=new: f"{m[1]}{n}\n{m[2]}", text, flags=re.S
            )
    path.write_text(text)


def main() -> None:
    parts = {"compare": compared(), "listing": listing(), "verdicts": verdicts(), "speed": speed()}
    if len(sys.argv) > 1:
        parts["demo"] = demo(Path(sys.argv[1]))
    fill(ROOT / "README.md", parts)
    fill(ROOT / "docs" / "claims.md", {"claims": claims()})
    fill(ROOT / "docs" / "comparing.md", {"null": itself()})
    fill(ROOT / "docs" / "lengths.md", {"lengths": longer()})


if __name__ == "__main__":
    main()
