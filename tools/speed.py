"""Write docs/speed.md from the recorded benchmarks: `python tools/speed.py`; what stands outside its marks stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import plots

ROOT = Path(__file__).parent.parent
PAGE, PICTURES = ROOT / "docs" / "speed.md", ROOT / "docs" / "speed"
MARKS = re.compile("(<!-- recorded -->\n).*?(<!-- /recorded -->)", re.S)


def main() -> None:
    told = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "benchmarks").glob("*.json"))]
    for suite in told:
        plots.draw(suite, PICTURES / f"{suite['suite']}.svg")
    text = "\n".join(line for suite in told for line in section(suite))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKS.sub(lambda m: f"{m[1]}{text}\n{m[2]}", page), encoding="utf-8")


def section(told: Mapping[str, Any]) -> Iterator[str]:
    at = told["machine"]
    yield f"### `{'tools/gpu.py' if told['suite'] == 'gpu' else 'bench ' + told['suite']}`"
    yield ""
    here = at["gpu"] if told["device"] == "cuda" else f"{at['processor']}, {at['threads']} threads"
    yield f"{told['what'].strip()} {here}, {at['date'][:10]}; medians of "
    yield f"{'up to ' if told['suite'] == 'gpu' else ''}{told['rounds']} rounds. Raw figures: `benchmarks/{told['suite']}.json`."
    yield ""
    yield f"![{told['suite']}: panformer and its peers]({PICTURES.name}/{told['suite']}.svg)"
    yield ""
    yield "| job | contestant | precision | rate | share of the limit | error |"
    yield "|---|---|---|---|---|---|"
    for row in told["rows"]:
        share = row.get("share_of_matmul_limit", row.get("share_of_bandwidth"))
        error = row.get("error", row.get("error_fp32"))
        name = " ".join(str(row[k]) for k in ("contestant", "form") if k in row)
        yield (
            f"| {row['task']} | {name} | {row['precision']} | {row['rate']:.4g} {row['unit']} "
            f"| {'' if share is None else f'{share:.0%}'} | {'' if error is None else f'{error:.1e}'} |"
        )
    if told["goals"]:
        yield from ("", "| goal | job | wanted | reached | |", "|---|---|---|---|---|")
    for g in told["goals"]:
        against = f" ({g['against']})" if "against" in g else ""
        yield f"| {g['goal']}{against} | {g['task']} | {g['wanted']:.3g} | {g['reached']:.3g} | {'reached' if g['met'] else 'missed'} |"
    for fit in told.get("growth", []):
        said = ", ".join(f"{k} {v}" for k, v in fit.items() if k not in ("task", "declared") and v is not None)
        yield from ("", f"{fit['task']}: declared {fit['declared']}; exponents measured: {said}.")
    for job, note in told["size"].items():
        for precision, shares in (note.get("profile") or {}).items() if isinstance(note, dict) else ():
            top = ", ".join(f"{op} {share:.0%}" for op, share in list(shares.items())[:4])
            yield from ("", f"Where the time of {job} goes in {precision}: {top}.")
    for name, why in told["missing"].items():
        yield from ("", f"Not run: {name}: {why}.")
    yield ""


if __name__ == "__main__":
    main()
