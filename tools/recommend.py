"""Write docs/recommend.md from recorded evidence: `python tools/recommend.py`; what stands outside its marks stays.

What it says is decided in panformer/atlas/advice.py, which the atlas prints too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from panformer.atlas import advice
from panformer.atlas.tables import Table

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "recommend.md"
MARKS = re.compile("(<!-- recorded -->\n).*?(<!-- /recorded -->)", re.S)
LINK = "[{slug}](../src/panformer/papers/evidence/{slug}.json)"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as it should be for the evidence that is there."""
    checks = advice.checks()
    tables = [advice.quality(checks), advice.costs(checks), advice.growth(checks)]
    text = "\n".join([*(line for table in tables for line in _section(table)), *_long()])
    return MARKS.sub(lambda m: f"{m[1]}{text}\n{m[2]}", PAGE.read_text(encoding="utf-8"))


def _section(table: Table) -> Iterator[str]:
    yield from (f"### {table.title}", "", *table.markdown(LINK), "")


def _long() -> Iterator[str]:
    path = ROOT / "benchmarks" / "long.json"
    if path.is_file():
        table = advice.quickest(json.loads(path.read_text(encoding="utf-8")))
        yield from _section(table)
        yield from (f"{table.note}, from [benchmarks/long.json](../benchmarks/long.json).", "")


if __name__ == "__main__":
    main()
