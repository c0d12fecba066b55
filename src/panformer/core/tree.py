"""Plain trees from YAML and JSON: bounded, without aliases or tags, and no key lost because it stands twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError

MAX_BYTES = 1_000_000
MAP, SEQUENCE, TEXT = (f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str"))


def read_tree(path: Path) -> Any:
    """The tree of a person's `.yaml`, `.yml` or `.json` file, or one line that names the file and the fault."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes, which no spec needs")
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        return yaml.load(text, _Strict)  # noqa: S506 - a SafeLoader that refuses more
    except UnicodeDecodeError as fault:
        raise InputError(f"{path}: not UTF-8 text (byte {fault.start})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise InputError(f"{path}: {' '.join(str(fault).split()) or 'nested too deep'}") from None


def read_shipped(path: Path) -> Any:
    """The tree of a YAML file that comes with the package: as strict about keys, and much faster."""
    try:
        loader = _Fast(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            return None if node is None else _plain(node, loader)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as fault:
        raise InputError(f"{path.name}: {' '.join(str(fault).split())}") from None


def _plain(node: Any, loader: Any) -> Any:
    """What a safe loader makes of a node, without its machinery for objects that are still being built."""
    if isinstance(node, yaml.MappingNode) and node.tag == MAP:
        return _once([(_plain(key, loader), _plain(value, loader)) for key, value in node.value])
    if isinstance(node, yaml.SequenceNode) and node.tag == SEQUENCE:
        return [_plain(item, loader) for item in node.value]
    return node.value if node.tag == TEXT else loader.construct_object(node, deep=True)


class _Strict(yaml.SafeLoader):
    """In plain Python, so that deep nesting ends in an error; refuses aliases, which can blow up, and a key given twice."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"alias at line {self.peek_event().start_mark.line + 1}: write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        _once([(self.construct_object(key, deep=True), None) for key, _ in node.value])
        return super().construct_mapping(node, deep)


_Fast: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} is given twice")
        tree[key] = value
    return tree
