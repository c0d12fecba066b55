"""Whether everything an entry names exists, told from file names alone so that listing stays light.

What only building can tell (impossible shapes, refused options) shows in `panformer check` and in the tests.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from .schema import Paper

ROOT = Path(__file__).parent.parent
SLOTS = {
    "mixer": "mixers", "cross": "mixers", "channel": "channels", "norm": "norms", "final": "norms",
    "residual": "residuals", "position": "positions", "embed": "embeds", "head": "heads",
    "objective": "objectives", "reduce": "reducers", "feature": "features",
    "pattern": "patterns", "depth": "depths", "task": "claims/tasks",
}  # fmt: skip


def fault(paper: Paper) -> str:
    """The first thing that is named and does not exist, or nothing."""
    for name in paper.adds:
        if not _exists(name):
            return f"adds: no part {name!r}"
    for i, check in enumerate(paper.tree["checks"]):
        for key, home in (("fact", "claims/facts"), ("peer", "claims/peers")):
            if check.get(key) and check[key] not in _functions(home):
                return f"checks.{i}.{key}: no {key} {check[key]!r}"
    return _missing(paper.tree, "")


def _missing(node: Any, at: str) -> str:
    """The first name in a tree, in the order it is written, that is none."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, inner in items:
        if key in SLOTS:
            use = inner.get("use") if isinstance(inner, dict) else inner
            if isinstance(use, str) and not _exists(f"{SLOTS[key]}/{use}"):
                return f"{at}{key}: no part {SLOTS[key]}/{use}"
        if isinstance(inner, dict | list) and (line := _missing(inner, f"{at}{key}.")):
            return line
    return ""


@cache
def _exists(name: str) -> bool:
    return bool(re.fullmatch(r"[a-z]\w*(/[a-z]\w*)+", name)) and (ROOT / f"{name}.py").is_file()


@cache
def _functions(home: str) -> frozenset[str]:
    """`topic.name` of every public function in the files of a folder."""
    found = set()
    for path in (ROOT / home).glob("[a-z]*.py"):
        for name in re.findall(r"^def ([a-z]\w*)\(", path.read_text(encoding="utf-8"), re.M):
            found.add(f"{path.stem}.{name}")
    return frozenset(found)
