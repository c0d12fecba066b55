"""Write src/panformer/atlas/parts.json, from which the atlas takes laws and matrices: `python tools/atlas.py`."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import torch

from panformer.atlas import samples
from panformer.core.part import FAMILIES, known

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from laws.families import every, subject  # noqa: E402
from laws.laws import LAWS  # noqa: E402


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kept = _laws()
    parts = {}
    for family in FAMILIES:
        for use in known(family):
            name = f"{family}/{use}"
            parts[name] = {"laws": kept.get(name, [])}
            if family == "mixers":
                parts[name]["matrix"] = samples.drawn(use)
                print(name, file=sys.stderr, flush=True)
    told = {
        name: " ".join((law.__doc__ or "").split()).partition(". ")[0].rstrip(".") + "."
        for name, (law, _) in LAWS.items()
    }
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in parts.items())
    samples.FILE.write_text(f'{{"laws": {json.dumps(told, indent=1)},\n"parts": {{\n{lines}\n}}}}\n', encoding="utf-8")


def _laws() -> dict[str, list[str]]:
    """The laws that speak of each part, under any of its examples."""
    found: dict[str, list[str]] = {}
    for part, options in every():
        s = subject(part, options)
        torch.manual_seed(0)
        module = s.build()
        held = found.setdefault(f"{part.family}/{part.use()}", [])
        held += [name for name, (_, speaks) in LAWS.items() if name not in held and speaks(s, module)]
    return {name: [law for law in LAWS if law in held] for name, held in found.items()}


if __name__ == "__main__":
    main()
