"""A record of a comparison in the form that `panformer compare` writes, with numbers that follow from a seed."""

from __future__ import annotations

import math
from random import Random
from statistics import mean, stdev
from typing import Any

ARMS = {"attention": 0.99, "mamba": 0.93, "linear attention <elu>": 0.71, "no mixing": 0.26}  # one name needs escaping
LENGTHS, SEEDS = (64, 256), (0, 1, 2)


def record() -> dict[str, Any]:
    """Four arms, two lengths, three seeds."""
    draw = Random(0)
    trials, summary = [], []
    for length in LENGTHS:
        for place, (arm, best) in enumerate(ARMS.items()):
            found = []
            for seed in SEEDS:
                value = best - 0.05 * place * math.log2(length / 64) / 2 + draw.gauss(0, 0.01)
                found.append(value)
                trials.append(
                    {"arm": arm, "length": length, "size": "small", "seed": seed, "rate": 3e-3, "tuning": False, "measure": value,
                     "seconds": 12.5 + place, "flops": 4e9 * length * (1 + place), "parameters": 52_000, "latency_ms": 1.5 + place,
                     "peak_bytes": 3_000_000, "state_bytes": 16_384, "steps": 400}
                )  # fmt: skip
            half = 4.303 * stdev(found) / math.sqrt(len(found))
            summary.append(
                {"arm": arm, "length": length, "size": "small", "mean": mean(found), "low": mean(found) - half, "high": mean(found) + half,
                 "seeds": len(found), "parameters": 52_000, "flops": 4e9 * length * (1 + place), "seconds": 12.5 + place,
                 "latency_ms": 1.5 + place, "peak_bytes": 3_000_000, "rank": place + 1}
            )  # fmt: skip
    names = list(ARMS)
    pairs = [
        {"a": a, "b": b, "length": length, "size": "small", "gain": ARMS[a] - ARMS[b], "low": 0.01, "high": 0.2, "p": 0.004,
         "p_holm": 0.024, "verdict": "better"}
        for length in LENGTHS for i, a in enumerate(names) for b in names[i + 1 :]
    ]  # fmt: skip
    specs = {name: {"width": 64, "schedule": [{"repeat": 2, "mixer": name}]} for name in names}
    return {
        "format": 1, "task": {"use": "mqar", "pairs": 8}, "name": "mqar at two lengths", "suite": "recall", "size_is": "pairs", "lengths": list(LENGTHS),
        "sizes": ["small"], "budget": {"by": "parameters", "value": {"steps": 400, "batch": 32, "rate": 3e-3}},
        "arms": [{"name": n, "spec_hash": f"{i:012x}", "spec": specs[n]} for i, n in enumerate(names)],
        "trials": trials, "summary": summary, "pairs": pairs, "measure": "accuracy", "lower_is_better": False, "chance": 0.125,
        "machine": {"cpu": "a test", "threads": 1}, "versions": {"torch": "2"}, "date": "2026-01-01",
        "command": "panformer compare mqar --with attention,mamba",
    }  # fmt: skip
