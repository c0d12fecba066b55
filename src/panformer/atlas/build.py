"""The whole atlas as a folder of plain files: every number on its pages comes from the catalogue, its evidence, the
recorded benchmarks and comparisons, or the parts' own classes."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..claims import registry
from ..core.errors import InputError, require
from ..core.part import FAMILIES
from ..papers import catalogue, lengths
from ..papers.catalogue import Row
from ..papers.resolve import ROOT
from . import advice, checks, facts, nulls, plots, records, samples, speed
from .tables import Slug, Table

HERE = Path(__file__).parent
BENCHMARKS = ROOT.parent.parent / "benchmarks"  # of the repository; an installed package has none
SHARES = ("upheld", "not upheld", "inconclusive", "listed", "built", "planned")
RACED = ("long", "step")  # suites that tell a mixer's growth


class Built(NamedTuple):
    papers: int
    parts: int
    pages: int
    largest: int  # bytes of the largest page
    seconds: float


@dataclass
class Sources:
    """Everything that pages are made of, read once."""

    rows: tuple[Row, ...]
    records: dict[str, dict[str, Any]]
    benchmarks: dict[str, dict[str, Any]]
    nulls: dict[str, dict[str, Any]]
    composed: dict[str, dict[str, str]] = field(default_factory=dict)  # slug -> part -> place

    def __post_init__(self) -> None:
        self.composed = {row.slug: facts.composed(row) for row in self.rows}


def build(
    out: Path, compared: Path = records.HOME, raced: Path = BENCHMARKS, rows: tuple[Row, ...] | None = None
) -> Built:
    """Write the atlas to a folder: a new one, or one that holds an atlas, which is replaced.

    Errors: InputError where the folder holds something else, or a record cannot be read.
    """
    began = time.perf_counter()
    _free(out)
    benchmarks = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(raced.glob("*.json"))}
    sources = Sources(rows or catalogue.rows(), records.read(compared), benchmarks, records.nulls(compared))
    draft = out.with_name(f".{out.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    pages, largest = 0, 0
    for name, text in _pages(sources):
        path = draft / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        pages += 1
        largest = max(largest, len(text.encode()))
    for row in sources.rows:
        if row.evidence:
            (draft / "evidence").mkdir(exist_ok=True)
            shutil.copyfile(row.home / f"{row.slug}.json", draft / "evidence" / f"{row.slug}.json")
    for path in (HERE / "static").iterdir():
        shutil.copyfile(path, draft / path.name)
    counts = {"format": 1, "papers": len(sources.rows), "parts": len(facts.every()), "pages": pages}
    (draft / "atlas.json").write_text(json.dumps(counts) + "\n", encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
    return Built(len(sources.rows), len(facts.every()), pages, largest, time.perf_counter() - began)


def _code(text: Any) -> Any:
    """What stands between backticks as code."""
    markup = require("markupsafe", "choose")
    return markup.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(markup.escape(text))))


def _free(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "atlas.json").is_file()):
        raise InputError(f"--out {out}: holds something that is no atlas; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)


def _pages(sources: Sources) -> Iterator[tuple[str, str]]:
    """(path, text) of every page."""
    jinja = require("jinja2", "choose")
    env = jinja.Environment(
        loader=jinja.FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja.StrictUndefined,
    )  # fmt: skip
    env.tests["slug"] = lambda cell: isinstance(cell, Slug)
    env.filters["svg"] = env.filters["safe"]
    env.filters["code"] = _code
    env.globals.update(bar=plots.bar, picture=samples.picture)
    for path, template, told in _told(sources):
        yield path, env.get_template(template).render(root="../" * path.count("/"), here=path, **told)


def _told(sources: Sources) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, template, what it is told) of every page."""
    yield "index.html", "home.html", _home(sources)
    for row in sources.rows:
        yield f"papers/{row.slug}.html", "paper.html", _paper(row, sources)
    yield "parts.html", "parts.html", {"families": _parts(sources)}
    for name in facts.every():
        yield f"parts/{name}.html", "part.html", _part(name, sources)
        yield f"source/{name}.html", "source.html", {"name": name, "text": facts.source(name)}
    beside = {"suites": list(sources.benchmarks), "nulls": sources.nulls}
    yield "compare.html", "compare.html", {"records": sources.records, **beside}
    for name, told in sources.records.items():
        yield f"compare/{name}.html", "comparison.html", _comparison(told)
    if sources.nulls:
        found = list(sources.nulls.values())
        suites = [(told, nulls.of_suite(told)) for told in found]
        yield "null.html", "null.html", {"whole": nulls.whole(found), "suites": suites}
    yield "lengths.html", "lengths.html", _lengths(sources)
    yield "speed.html", "speed.html", {"suites": [_suite(told) for told in sources.benchmarks.values()]}
    yield "choose.html", "choose.html", {"tables": _advice(sources)}


def _home(sources: Sources) -> dict[str, Any]:
    families: dict[str, Counter[str]] = {}
    for row in sources.rows:
        families.setdefault(row.family, Counter())[_state(row)] += 1
    lines = [
        (name, sum(c.values()), c) for name, c in sorted(families.items(), key=lambda f: (-sum(f[1].values()), f[0]))
    ]
    total: Counter[str] = sum((c for _, _, c in lines), Counter())
    order = ("checked", "built", "planned")
    rows = [
        (row, _state(row), facts.ways(row), facts.length_class(facts.length(row)), _added(row))
        for row in sorted(sources.rows, key=lambda r: order.index(r.status))
    ]
    filters = {
        "family": sorted(families), "area": sorted({r.area for r in sources.rows}),
        "modality": sorted({r.modality for r in sources.rows}),
        "status": [s for s in SHARES if total[s]],
        "cost": [g for g in facts.GROWTHS if any(w.growth == g for _, _, w, _, _ in rows)],
        "length": list(dict.fromkeys(facts.length_class(n) for n in (*facts.CLASSES, facts.CLASSES[-1] + 1))),
        "causal": ["yes", "no", "either"], "streams": ["yes", "no", "either"],
    }  # fmt: skip
    shown = [s for s in SHARES if total[s]]
    return {"families": lines, "total": total, "shares": shown, "rows": rows, "filters": filters}


def _state(row: Row) -> str:
    """The verdict of a paper that was checked, else its status."""
    return row.verdict or row.status


def _added(row: Row) -> str:
    return " ".join(name.partition("/")[2] for name in row.entry.adds) if row.entry else ""


def _paper(row: Row, sources: Sources) -> dict[str, Any]:
    composed = sources.composed[row.slug]
    shown = checks.shown(row)
    lost = [(i, s) for i, s in enumerate(shown, 1) if s.verdict == "not upheld" or s.behind]
    return {
        "row": row, "state": _state(row), "ways": facts.ways(row), "length": facts.length(row), "checks": shown, "lost": lost,
        "formulas": [(name, facts.formula(name)) for name, place in composed.items() if place == "adds"],
        "composed": {place: [n for n, p in composed.items() if p == place] for place in ("adds", "model", "arms")},
        "spec": row.path.read_text(encoding="utf-8") if row.path and row.entry else "", "run": row.evidence,
    }  # fmt: skip


def _parts(sources: Sources) -> list[tuple[str, list[tuple[str, str, int]]]]:
    uses = Counter(name for found in sources.composed.values() for name in found)
    found = []
    for family in FAMILIES:
        names = [name for name in facts.every() if name.startswith(f"{family}/")]
        found.append((family, [(name, facts.formula(name), uses[name]) for name in names]))
    return found


def _part(name: str, sources: Sources) -> dict[str, Any]:
    users = [(row, sources.composed[row.slug][name]) for row in sources.rows if name in sources.composed[row.slug]]
    use = name.partition("/")[2]
    raced = list(_raced(use, sources)) if name.startswith("mixers/") else []
    return {
        "name": name, "formula": facts.formula(name), "text": facts.text(name), "paper": facts.paper(name),
        "contract": facts.contract(name), "options": facts.options(name), "examples": facts.examples(name),
        "laws": samples.laws_of(name), "matrix": samples.samples()["parts"].get(name, {}).get("matrix"),
        "length": samples.LENGTH, "users": users, "raced": raced,
    }  # fmt: skip


def _raced(use: str, sources: Sources) -> Iterator[dict[str, Any]]:
    """Where a mixer was raced: what was found of its growth, its times as a picture, and as a table."""
    from ..bench.long import JOBS

    names = [*(job for job, one in JOBS.items() if one.ours["use"] == use), *({use} - set(JOBS))]
    for suite in RACED:
        told = sources.benchmarks.get(suite, {"rows": [], "growth": []})
        for job in names:
            rows = [r for r in told["rows"] if r["task"] == job]
            if not rows:
                continue
            growth: dict[str, Any] = next((f for f in told["growth"] if f["task"] == job), {})
            lines: dict[str, list[tuple[float, float]]] = {}
            for row in rows:
                way = speed.way(row)
                key = " ".join(filter(None, (row["contestant"], row["precision"], way)))
                lines.setdefault(key, []).append((row["length"], row["seconds"]["median"]))
            ours = [plots.Line(k.removeprefix("panformer "), v) for k, v in lines.items() if k.startswith("panformer")]
            about = f"seconds of {job} over tokens, bench {suite}"
            yield {
                "suite": suite, "job": job, "tree": json.dumps(dict(JOBS[job].ours)) if job in JOBS else "", "declared": growth.get("declared"), "table": speed.by_length(rows),
                "growth": [(k, v) for k, v in growth.items() if k not in ("task", "declared") and v is not None],
                "picture": plots.lines(ours, "tokens", "seconds", about),
            }  # fmt: skip


def _comparison(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "told": told,
        "panels": records.panels(told),
        "over": records.over_length(told),
        "trials": records.trials(told),
    }


def _lengths(sources: Sources) -> dict[str, Any]:
    told = list(sources.records.values())
    whole = Table("All comparisons", *lengths.overview(told)) if lengths.longer(told) else None
    return {"whole": whole, "tables": [_longer(t) for t in lengths.every(told, sources.rows)]}


def _longer(found: lengths.Table) -> dict[str, Any]:
    task = registry.task(found.task)
    up = f"{task.unit} ({'lower' if task.lower_is_better else 'higher'} is better)"
    lines = [
        plots.Line(arm, [(n, seeds.mean) for n, seeds in sorted(line.items())])
        for arm, line in sorted(found.lines.items())
    ]
    about = f"{up} of each arm over the length of the test; {found.title}"
    return {
        "table": Table(found.title, found.heads, found.rows(), found.about), "papers": sorted(found.papers), "comparison": found.comparison,
        "picture": plots.lines(lines, "tested at", up, about, log=(True, False)),
    }  # fmt: skip


def _suite(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": told["suite"], "caption": f"{speed.caption(told)} {speed.rounds(told)}", "races": speed.races(told),
        "goals": speed.goals(told), "notes": [*speed.demands(told), *speed.growth(told), *speed.missing(told)],
    }  # fmt: skip


def _advice(sources: Sources) -> Sequence[Table]:
    found = [(row, check) for row in sources.rows if row.evidence for check in row.evidence["checks"]]
    tables = [advice.quality(found), advice.costs(found), advice.growth(found)]
    if "long" in sources.benchmarks:
        tables.append(advice.quickest(sources.benchmarks["long"]))
    return tables
