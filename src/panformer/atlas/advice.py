"""What the recorded evidence recommends: one line for each upheld check of one paper, or each length of `bench long`.

Nothing is said that no run has measured. Printed in docs/recommend.md and in the atlas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..claims.arms import spec_of
from ..papers import catalogue, schema
from .tables import Slug, Table

KINDS = {
    "sections": "classify text", "listops": "classify text", "bags": "classify a bag of images", "copy": "recall",
    "induction": "recall", "mqar": "recall", "selective_copy": "recall", "lagged": "forecast", "weather": "forecast",
}  # fmt: skip
FORMS = {
    "causal": "next byte of text", "masked": "masked bytes of text", "image": "classify an image",
    "pixels": "classify a row of pixels", "draw": "next pixel of an image",
}  # fmt: skip
COSTS = {
    "forward": "time of a forward pass", "train": "time of a training step", "decode": "time of one more token",
    "flops": "operations", "state": "bytes of streaming state", "peak": "peak memory", "bytes": "bytes moved",
    "saved": "bytes kept for training",
}  # fmt: skip
SILENT = ("repeat", "name", "mixer", "channel")  # keys that say nothing outside their schedule
Check = Mapping[str, Any]
Found = Sequence[tuple[Any, Check]]


def checks() -> list[tuple[Any, Check]]:
    """Every check that has run, with its row."""
    return [(row, check) for row in catalogue.rows() if row.evidence for check in row.evidence["checks"]]


def quality(checks: Found) -> Table:
    """What was better, or no worse by more than a margin, on a task; upheld comparisons of trained models only."""
    found = []
    for row, check in checks:
        told = check["check"]
        if check["judge"] == "beats" and check["verdict"] == "upheld" and "task" in told:
            found.append((_kind(told["task"]), _tokens(told["task"]), row, check))
    lines = []
    for kind, tokens, row, check in sorted(found, key=lambda f: (f[0], _first(f[1]), f[2].id)):
        ours, theirs = arms(row, check)
        margin, use, rather = check["numbers"]["margin"], ours, theirs
        why = "gain {mean:.3g} [{low:.3g}, {high:.3g}]".format(**check["interval"])
        if margin < 0:  # no worse than the control by more than that, which the floor was seen to be
            use, rather = f"{ours} or {theirs}", arms(row, check, "floor")[1]
            why = f"{why}: {ours} is at most {-margin:g} behind {theirs}, {rather} may be further"
        lines.append((kind, tokens, use, rather, why, Slug(row.slug)))
    heads = ("task", "tokens", "use", "rather than", "why", "paper")
    return Table(
        "By task",
        heads,
        lines,
        "A gain is one of right answers; in bytes and pixels one of bits, in forecasts one of error.",
    )


def costs(checks: Found) -> Table:
    """What one model costs over another at a length."""
    found = [
        (check["check"]["length"], row, check) for row, check in checks
        if check["judge"] == "costs" and check["verdict"] == "upheld" and check["check"]["cost"] in COSTS
    ]  # fmt: skip
    lines = []
    for tokens, row, check in sorted(found, key=lambda f: (f[0], f[1].id)):
        ratio = "{mean:.3g} [{low:.3g}, {high:.3g}]".format(**check["interval"])
        lines.append((tokens, COSTS[check["check"]["cost"]], *arms(row, check), ratio, Slug(row.slug)))
    return Table("By cost at one length", ("tokens", "cost", "of", "over that of", "ratio", "paper"), lines)


def growth(checks: Found) -> Table:
    """How a cost grows with length."""
    lines = []
    for row, check in checks:
        told = check["check"]
        if check["judge"] != "scales" or check["verdict"] != "upheld" or told.get("cost") not in COSTS:
            continue
        span = f"{min(told['lengths'])} to {max(told['lengths'])}"
        exponent = "{mean:.3g} [{low:.3g}, {high:.3g}]".format(**check["interval"])
        lines.append((span, COSTS[told["cost"]], _parts(_arm(row, told.get("change"))), exponent, Slug(row.slug)))
    return Table("By growth with length", ("tokens", "cost", "of", "exponent", "paper"), lines)


def quickest(told: Mapping[str, Any]) -> Table:
    """The quickest mixer at each length of the recorded `bench long`."""
    mine = [r for r in told["rows"] if r["contestant"] == "panformer"]
    lines = []
    for length, precision in sorted({(r["length"], r["precision"]) for r in mine}):
        like = [r for r in mine if (r["length"], r["precision"]) == (length, precision)]
        best = max(like, key=lambda r: r["rate"])
        softmax = next((f"{r['rate']:.4g}" for r in like if r["task"] == "softmax attention"), "not run")
        lines.append((length, precision, best["task"], f"{best['rate']:.4g}", softmax))
    heads = ("tokens", "precision", "quickest", "tokens/s", "softmax attention")
    return Table(
        "By speed at one length", heads, lines, f"One layer of width {told['size']['width']}, forward and backward"
    )


def arms(row: Any, check: Check, other: str = "control") -> tuple[str, str]:
    """The candidate and another arm in words: their mixers where these differ, and what keeps one from seeing all of
    its input; else whatever differs."""
    told = check["check"]
    ours, theirs = _arm(row, told.get("change")), _arm(row, told[other])
    names = _parts(ours), _parts(theirs)
    if names[0] != names[1]:
        mine, rest = _less(ours, told.get("change")), _less(theirs, told[other])
    else:
        a, b = _words(ours, theirs, told.get("change")), _words(theirs, ours, told[other])
        mine, rest = [w for w in a if w not in b][:3], [w for w in b if w not in a][:3]
    one, two = (f"{name} ({', '.join(said)})" if said else name for name, said in zip(names, (mine, rest), strict=True))
    return one, two


def _less(spec: Mapping[str, Any], change: Any) -> list[str]:
    """What the names of parts do not tell: that attention has a window or a pattern, that the task is another."""
    layers = [layer for stage in spec["schedule"] for layer in stage.get("pattern", [stage])]
    mixers = [m for m in (layer.get("mixer") for layer in layers) if isinstance(m, Mapping) and m["use"] == "attention"]
    said = [f"{key} {_named(m[key])}" for m in mixers for key in ("window", "pattern") if m.get(key)]
    return list(dict.fromkeys([*said, *_task(change)]))


def _named(value: Any) -> Any:
    return value["use"] if isinstance(value, Mapping) else value


def _task(change: Any) -> list[str]:
    return [f"{_short(key)} {value}" for key, value in _leaves((change or {}).get("task") or {}).items()]


def _words(spec: Mapping[str, Any], other: Mapping[str, Any], change: Any) -> list[str]:
    """What a model has that the other has not, as `key value`; where they agree, what else was changed."""
    theirs = _leaves(other)
    leaves = {k: v for k, v in _leaves(spec).items() if theirs.get(k) != v}
    if not leaves and change:
        leaves = {k: v for home in ("task", "train", "with") for k, v in _leaves(change.get(home) or {}).items()}
    words = [f"{_short(key)} {value}" for key, value in leaves.items() if _short(key) not in SILENT]
    return list(dict.fromkeys([*_task(change), *words]))


def _short(key: str) -> str:
    """The last name in a path; of a part, the slot that it stands in."""
    names = [n for n in key.split(".") if not n.isdigit()]
    return names[-2] if names[-1] == "use" and len(names) > 1 else names[-1]


def _arm(row: Any, change: Any) -> dict[str, Any]:
    return spec_of(row.entry.model, schema.Change.model_validate(change or {}), {})


def _parts(spec: Mapping[str, Any]) -> str:
    """The mixers and uncommon channels of a model, each named once."""
    found: list[str] = []
    for stage in spec["schedule"]:
        for layer in stage.get("pattern", [stage]):
            for slot in ("mixer", "channel"):
                part = layer.get(slot)
                name = part.get("use") if isinstance(part, Mapping) else part
                if name and name not in ("mlp", "none") and name not in found:
                    found.append(name)
        reduce = stage.get("reduce")
        found += [r for r in [reduce.get("use") if isinstance(reduce, Mapping) else reduce] if r and r not in found]
    return " + ".join("no mixing" if n == "identity" else n for n in found) or "no mixing"


def _leaves(tree: Any, at: str = "") -> dict[str, Any]:
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else None
    if items is None:
        return {at: tree}
    return {k: v for key, inner in items for k, v in _leaves(inner, f"{at}.{key}".lstrip(".")).items()}


def _kind(task: Mapping[str, Any]) -> str:
    default = {"text": "causal", "digits": "image"}.get(task["use"], "")
    return KINDS.get(task["use"]) or FORMS.get(task.get("form", default)) or str(task["use"])


def _tokens(task: Mapping[str, Any]) -> str:
    """How long the inputs are, where the task says so."""
    size = {"digits": 64, "mqar": 3 * task.get("pairs", 8)}.get(task["use"])
    size = task.get("length", task.get("lookback", task.get("size", task.get("high", size))))
    size = {"text": 128, "sections": 128, "needle": 128}.get(task["use"], "") if size is None else size
    return f"{size}, tested at {task['test']}" if "test" in task else str(size)


def _first(tokens: str) -> int:
    return int((re.match(r"\d*", tokens) or [""])[0] or 0)
