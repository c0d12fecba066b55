"""A study of an arm against itself in the form that `panformer compare SUITE --null` writes."""

from __future__ import annotations

from typing import Any


def null() -> dict[str, Any]:
    """Two tasks of a suite; one had too few runs that did not diverge."""
    row = {
        "task": "parity", "size_is": "length", "length": 8, "size": 32, "spec_hash": "0" * 12, "steps": 300, "batch": 32, "rate": 3e-3,
        "runs": 24, "diverged": 0, "measure": "share of right answers", "chance": 0.5, "lowest": 0.51, "mean": 0.83, "highest": 1.0,
        "gains": [0.1] * 12, "false_wins": 0.03, "seconds": 31.0,
    }  # fmt: skip
    lost = {
        **row,
        "task": "sort",
        "diverged": 20,
        "gains": [0.1] * 2,
        "false_wins": None,
        "lowest": None,
        "mean": None,
        "highest": None,
    }
    return {
        "format": 1, "kind": "null", "name": "state", "suite": "state", "arm": "attention", "model": {}, "sizes": [32], "pairs": 12,
        "seeds": 5, "sets": 400, "rows": [row, lost], "false_wins": 0.03, "engine": "local", "machine": {"cpu": "a test"},
        "versions": {"torch": "2"}, "date": "2026-01-01T00:00:00", "command": "panformer compare state --with attention --null 12",
    }  # fmt: skip
