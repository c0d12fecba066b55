"""Write docs/speed.md from the recorded benchmarks: `python tools/speed.py`; what stands outside its marks stays."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import plots

from panformer.atlas import speed

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
    yield f"### `{'tools/gpu.py' if told['suite'] == 'gpu' else 'bench ' + told['suite']}`"
    yield ""
    yield f"{speed.caption(told)} "
    yield f"{speed.rounds(told)} Raw figures: `benchmarks/{told['suite']}.json`."
    yield ""
    yield f"![{told['suite']}: panformer and its peers]({PICTURES.name}/{told['suite']}.svg)"
    yield ""
    for table in (speed.races(told), speed.goals(told)):
        if table is None:
            continue
        if table.title:
            yield ""
        if table.note:
            yield from (table.note, "")
        yield from table.markdown()
    for line in (*speed.demands(told), *speed.growth(told)):
        yield from ("", line)
    for job, note in told["size"].items():
        for precision, shares in (note.get("profile") or {}).items() if isinstance(note, dict) else ():
            top = ", ".join(f"{op} {share:.0%}" for op, share in list(shares.items())[:4])
            yield from ("", f"Where the time of {job} goes in {precision}: {top}.")
    for line in speed.missing(told):
        yield from ("", line)
    yield ""


if __name__ == "__main__":
    main()
