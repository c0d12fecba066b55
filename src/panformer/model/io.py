"""A model folder: config.json, model.safetensors, whatever travels with it, and manifest.json written last.

Before or after, nothing between: a folder is written beside its final name and moved there whole. The
manifest holds size and SHA-256 of every file, so damage is found when loading, not in an answer.
Nothing in a folder is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack_tensors
from torch import Tensor, nn

from ..core.errors import InputError, PanformerError
from .build import build
from .model import Model

FORMAT = 1
MAX_JSON = 16_000_000


class CheckpointError(InputError):
    """A file that is missing, damaged, or not ours: names the file and the reason."""


def save(model: Model, folder: str | Path, extra: Mapping[str, bytes | str] | None = None) -> Path:
    """Write a model folder; `extra` files (card, preparation) travel with it."""
    config = {"format": FORMAT, "architectures": ["PanformerModel"], "model_type": "panformer"}
    files: dict[str, bytes] = {
        "config.json": _json({**config, "spec": model.spec.dump()}),
        "model.safetensors": pack_tensors(tensors(model), metadata={"format": "pt"}),
    }
    files.update({n: c.encode() if isinstance(c, str) else c for n, c in (extra or {}).items()})
    return publish(folder, files)


def load(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """The model of a folder, in evaluation mode, after checking every file against the manifest."""
    folder = Path(folder)
    verify(folder)
    tree = read_json(folder / "config.json")
    if tree.get("format") != FORMAT or "spec" not in tree:
        raise CheckpointError(f"{folder}/config.json: format {tree.get('format')!r}; this version reads {FORMAT}")
    model = build(tree["spec"], seed=0)
    fill(model, load_tensors(folder / "model.safetensors"), str(folder / "model.safetensors"))
    return model.to(device).eval()


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and saved buffer once, under its first name, ready to be written."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            out[name] = value.detach().contiguous()
    return out


def fill(module: nn.Module, values: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a module; names and shapes must match one to one."""
    own = tensors(module)
    missing, extra = sorted(own.keys() - values.keys()), sorted(values.keys() - own.keys())
    if missing or extra:
        raise CheckpointError(f"{where}: missing tensors {missing[:5]}, unknown tensors {extra[:5]}")
    for name, value in own.items():
        if value.shape != values[name].shape:
            raise CheckpointError(f"{where}: {name} has shape {tuple(values[name].shape)}, not {tuple(value.shape)}")
        value.copy_(values[name])


def load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as fault:
        raise CheckpointError(f"{path}: not a readable safetensors file ({fault})") from None


# ---- folders


def publish(folder: str | Path, files: Mapping[str, bytes]) -> Path:
    """Write all files and the manifest beside the final name, then move them there in one step."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not (folder / "manifest.json").is_file() and any(folder.iterdir()):
        raise InputError(f"{folder}: exists and is not a folder of ours; give another --out")
    draft = folder.parent / f".{folder.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    draft.mkdir()
    try:
        entries = {}
        for name, content in files.items():
            _write(draft / name, content)
            entries[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        _write(draft / "manifest.json", _json({"format": FORMAT, "files": entries}))
        old = folder.with_name(f".{folder.name}.old-{uuid.uuid4().hex[:8]}") if folder.exists() else None
        if old is not None:
            folder.rename(old)
        draft.rename(folder)
        _sync(folder.parent)
        if old is not None:
            shutil.rmtree(old)
    except OSError as fault:
        raise PanformerError(f"{folder}: could not write ({fault.strerror or fault})") from fault
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def verify(folder: Path) -> list[str]:
    """The names of a folder's files, each checked for size and content."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such model folder")
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
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            raise CheckpointError(f"{path}: content does not match the manifest; the file is damaged")
    return sorted(entries)


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


def _json(tree: Any) -> bytes:
    return (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
