"""What a run leaves behind: verdict, numbers per seed, and all that is needed to judge or repeat it.

Written only by `panformer check`, whole or not at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from ..measure.machine import machine, versions
from ..papers.catalogue import EVIDENCE, Row

FORMAT = 1


def record(row: Row, verdict: str, checks: list[dict[str, Any]], seconds: float, command: str) -> dict[str, Any]:
    """The evidence of one run over all checks of a row."""
    entry = row.entry
    assert entry is not None
    return {
        "format": FORMAT, "id": row.id, "slug": row.slug, "claim": entry.claim, "verdict": verdict,
        "checks": checks, "spec_hash": entry.spec_hash, "claim_hash": entry.claim_hash,
        "machine": machine(), "versions": {**versions(), "commit": _commit()}, "seconds": round(seconds, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "command": command,
    }  # fmt: skip


def write(evidence: dict[str, Any], folder: Path = EVIDENCE) -> Path:
    """`<folder>/<slug>.json`, through a temporary file in the same folder."""
    path = folder / f"{evidence['slug']}.json"
    text = json.dumps(evidence, indent=1, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=folder, prefix=f".{path.stem}-", suffix=".tmp")
    except OSError as fault:
        raise InputError(f"{folder}: cannot write evidence ({fault.strerror}); give another --out") from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


def plain(value: Any) -> Any:
    """A tree fit for JSON: numbers that are not finite become their names."""
    if isinstance(value, dict):
        return {str(k): plain(inner) for k, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def _commit() -> str | None:
    """The commit of a checkout, with "+" where files differ from it; None for an installed package."""
    here = Path(__file__).parent
    try:
        asked = [["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--", str(here.parent)]]
        head, changed = (
            subprocess.run(["git", "-C", str(here), *a], capture_output=True, text=True, timeout=10, check=True).stdout
            for a in asked
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if changed.strip() else "")
