"""What a model folder says it holds, and whether that is there. Needs no torch, so that it can run while that loads."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..core.errors import InputError

FORMAT = 1
MAX_JSON = 64_000_000


class CheckpointError(InputError):
    """A file that is missing, damaged, or not ours: names the file and the reason."""


def verify(folder: Path) -> list[str]:
    """The names of a folder's files, each checked for size and content."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
    inside = next((p for p in (folder / "best", folder / "model") if (p / "manifest.json").is_file()), None)
    if inside is not None and not (folder / "manifest.json").exists():
        raise CheckpointError(f"{folder}: holds a run; its model is {inside}")
    manifest = read_json(folder / "manifest.json")
    entries = manifest.get("files")
    if manifest.keys() != {"format", "files"} or not isinstance(entries, dict) or manifest["format"] != FORMAT:
        raise CheckpointError(f"{folder}/manifest.json: not a manifest of format {FORMAT}")
    for name, facts in entries.items():
        if not isinstance(facts, dict) or facts.keys() != {"bytes", "sha256"}:
            raise CheckpointError(f"{folder}/manifest.json: {name!r} has no size and hash")
        path = folder / name
        if Path(name).name != name or path.is_symlink():
            raise CheckpointError(f"{folder}/manifest.json: {name!r} is not a plain file name")
        if not path.is_file():
            raise CheckpointError(f"{path}: named in the manifest but missing")
        if path.stat().st_size != facts["bytes"]:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes, the manifest says {facts.get('bytes')}")
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        found = pool.map(_digest, [folder / name for name in entries])
    for (name, facts), digest in zip(entries.items(), found, strict=True):
        if digest != facts["sha256"]:
            raise CheckpointError(f"{folder / name}: content does not match the manifest; the file is damaged")
    return sorted(entries)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    if path.stat().st_size > MAX_JSON:
        raise CheckpointError(f"{path}: larger than {MAX_JSON} bytes")
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as fault:
        raise CheckpointError(f"{path}: not JSON ({fault})") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: not a JSON object")
    return tree
