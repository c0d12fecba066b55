"""A model folder: config.json, model.safetensors, whatever travels with it, and manifest.json written last.

Weights larger than `SHARD` bytes are cut into several files with an index, as is usual elsewhere.

Before or after, nothing between: a folder is written beside its final name and moved there whole. The
manifest holds size and SHA-256 of every file, so damage is found when loading, not in an answer.
Nothing in a folder is ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as pack_tensors
from torch import Tensor, nn

from ..core.errors import InputError, check_type, writing
from ..core.spec import read, resolve
from .build import build
from .manifest import FORMAT, CheckpointError, read_json, verify
from .model import Model

SHARD = 2_000_000_000
ALIGNED = 64  # bytes: where torch puts tensors of its own
OWN = ("config.json", "model.safetensors", "model.safetensors.index.json", "manifest.json")


Content = bytes | Callable[[], bytes]


def save(model: Model, folder: str | Path, extra: Mapping[str, bytes | str] | None = None, shard: int = SHARD) -> Path:
    """Write a model folder. What travels with the model goes along; `extra` files (card, preparation) replace it."""
    check_type("save", model, Model)
    check_type("save: the folder", folder, str, Path)
    for name, content in (extra or {}).items():
        if Path(name).name != name:
            raise InputError(f"save: {name!r} is no plain file name")
        check_type(f"save: {name}", content, bytes, str)
    config = {"format": FORMAT, "architectures": ["PanformerModel"], "model_type": "panformer"}
    files: dict[str, Content] = {"config.json": _json({**config, "spec": model.spec.dump()})}
    files.update(_weights(tensors(model), shard))
    travels = {n: c.encode() if isinstance(c, str) else c for n, c in {**model.travels, **(extra or {})}.items()}
    taken = sorted(n for n in travels if _own(n))
    if taken:
        raise InputError(f"{folder}: {', '.join(taken)} belong to the folder itself; give the extra files other names")
    return publish(folder, {**files, **travels})


def load(folder: str | Path, device: str | torch.device = "cpu", names: Sequence[str] | None = None) -> Model:
    """The model of a folder, in evaluation mode, after checking every file against the manifest.

    `names` is what `verify` has answered, where that has been done.
    """
    check_type("load: the folder", folder, str, Path)
    folder = Path(folder)
    names = verify(folder) if names is None else names
    tree = read_json(folder / "config.json")
    if tree.get("format") != FORMAT or "spec" not in tree:
        raise CheckpointError(f"{folder}/config.json: format {tree.get('format')!r}; this version reads {FORMAT}")
    values = read_weights(folder)
    model = blank(tree["spec"], values, str(folder))
    fill(model, values, str(folder / "model.safetensors"), lent=True)
    model.travels = travelling(folder, names)
    return model.to(device).eval()


def travelling(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files of a folder that are not the model itself."""
    return {n: (folder / n).read_bytes() for n in names if not _own(n)}


def blank(spec: Any, values: Mapping[str, Tensor], where: str) -> Model:
    """A model whose weights are about to be filled: none are drawn, all are of the type of `values`."""
    with without_draws():
        with torch.device("meta"):  # nothing is allocated before the size is known to be right
            described = sum(v.numel() for v in tensors(Model(resolve(read(spec)))).values())
        given = sum(v.numel() for v in values.values())
        if described > 2 * given:
            raise CheckpointError(f"{where}: the weights hold {given} numbers, the config describes {described}")
        model = build(spec, seed=0)
    kinds = [t.dtype for t in values.values() if t.is_floating_point()]
    return model.to(max(set(kinds), key=kinds.count)) if kinds else model


@contextlib.contextmanager
def without_draws() -> Iterator[None]:
    """Skip drawing first weights, which takes longer than reading real ones."""
    names = ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_")  # fmt: skip
    kept = {n: getattr(nn.init, n) for n in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *a, **k: tensor)
        yield
    finally:
        for name, draw in kept.items():
            setattr(nn.init, name, draw)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and saved buffer once, under its first name, ready to be written."""
    seen: set[int] = set()
    out: dict[str, Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            out[name] = value.detach().contiguous()
    return out


def fill(module: nn.Module, values: Mapping[str, Tensor], where: str, lent: bool = False) -> None:
    """Copy tensors into a module; names and shapes must match one to one.

    With `lent` the module goes on with tensors of its own types as they are, without a copy: pages of a file are then
    read when they are first needed, and what is written to them stays in this process. Those that lie askew are copied:
    products of them would be slower, and rounded in another order than in training.
    """
    own = tensors(module)
    missing, extra = sorted(own.keys() - values.keys()), sorted(values.keys() - own.keys())
    if missing or extra:
        raise CheckpointError(f"{where}: missing tensors {missing[:5]}, unknown tensors {extra[:5]}")
    live = module.state_dict(keep_vars=True)
    for name, value in own.items():
        if value.shape != values[name].shape:
            raise CheckpointError(f"{where}: {name} has shape {tuple(values[name].shape)}, not {tuple(value.shape)}")
        if lent and _goes_on(value, values[name]):
            live[name].data = values[name]
        else:
            value.copy_(values[name])


def _goes_on(own: Tensor, given: Tensor) -> bool:
    return own.dtype == given.dtype and own.device == given.device and given.data_ptr() % ALIGNED == 0


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from the shards that its index names."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return load_tensors(folder / "model.safetensors")
    home = read_json(index).get("weight_map")
    if not isinstance(home, dict) or not all(isinstance(n, str) and Path(n).name == n for n in home.values()):
        raise CheckpointError(f"{index}: weight_map must give a plain file name for each tensor")
    out: dict[str, Tensor] = {}
    for name in sorted(set(home.values())):
        part = load_tensors(folder / name)
        astray = sorted(n for n in part if home.get(n) != name)
        if astray:
            raise CheckpointError(f"{folder / name}: holds {astray[:3]}, which the index does not place there")
        out.update(part)
    absent = sorted(home.keys() - out.keys())
    if absent:
        raise CheckpointError(f"{index}: no shard holds {absent[:3]}")
    return out


def _weights(values: Mapping[str, Tensor], shard: int) -> dict[str, Content]:
    """One file, or shards of at most `shard` bytes (a larger tensor has one of its own) and their index."""
    groups: list[dict[str, Tensor]] = [{}]
    room = shard
    for name, value in values.items():
        size = value.numel() * value.element_size()
        if groups[-1] and size > room:
            groups.append({})
            room = shard
        groups[-1][name] = value
        room -= size
    if len(groups) == 1:
        return {"model.safetensors": lambda: _packed(groups[0])}
    names = [f"model-{i:05}-of-{len(groups):05}.safetensors" for i in range(1, len(groups) + 1)]
    total = sum(v.numel() * v.element_size() for v in values.values())
    home = {n: name for name, group in zip(names, groups, strict=True) for n in group}
    files: dict[str, Content] = {n: partial(_packed, g) for n, g in zip(names, groups, strict=True)}
    return {**files, "model.safetensors.index.json": _json({"metadata": {"total_size": total}, "weight_map": home})}


def _own(name: str) -> bool:
    """Whether a file of a folder is the model itself, not something that travels with it."""
    return name in OWN or (name.startswith("model-") and name.endswith(".safetensors"))


def _packed(values: dict[str, Tensor]) -> bytes:
    content = memoryview(pack_tensors(values, metadata={"format": "pt"}))
    size = int.from_bytes(content[:8], "little")
    more = -(8 + size) % ALIGNED  # spaces after the header, so that the first tensor lies straight in the file
    return b"".join(((size + more).to_bytes(8, "little"), content[8 : 8 + size], b" " * more, content[8 + size :]))


def load_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as fault:
        raise CheckpointError(f"{path}: not a readable safetensors file ({fault})") from None


# ---- folders


def publish(folder: str | Path, files: Mapping[str, Content]) -> Path:
    """Write all files and the manifest beside the final name, then move them there in one step."""
    folder = Path(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_file():
            raise InputError(f"{folder}: is a file; give another --out")
        if folder.exists() and not (folder / "manifest.json").is_file() and any(folder.iterdir()):
            raise InputError(f"{folder}: exists and is not a folder of ours; give another --out")
        draft = folder.parent / f".{folder.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        draft.mkdir()
        try:
            _fill_draft(draft, files)
            old = folder.with_name(f".{folder.name}.old-{uuid.uuid4().hex[:8]}") if folder.exists() else None
            if old is not None:
                folder.rename(old)
            draft.rename(folder)
            _sync(folder.parent)
            if old is not None:
                shutil.rmtree(old)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def _fill_draft(draft: Path, files: Mapping[str, Content]) -> None:
    entries = {}
    for name, given in files.items():
        content = given if isinstance(given, bytes) else given()
        _write(draft / name, content)
        entries[name] = _entry(content)
    _write(draft / "manifest.json", _json({"format": FORMAT, "files": entries}))


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of files that someone else has put into the folder."""
    entries = {name: _entry((folder / name).read_bytes()) for name in names}
    _write(folder / "manifest.json", _json({"format": FORMAT, "files": entries}))


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


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
