"""Plain trees from YAML and JSON: bounded, without aliases or tags, and no key lost because it stands twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError

MAX_BYTES = 1_000_000


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
        return _Events(path.read_text(encoding="utf-8")).tree()
    except (yaml.YAMLError, ValueError) as fault:
        raise InputError(f"{path.name}: {' '.join(str(fault).split())}") from None


class _Events:
    """Makes the tree while the text is read: without nodes in between, which take longer than all the rest."""

    def __init__(self, text: str) -> None:
        self.next = _Fast(text).get_event
        self.named: dict[str, Any] = {}

    def tree(self) -> Any:
        self.next()  # the text begins
        if type(self.next()) is yaml.StreamEndEvent:
            return None
        found = self._value(self.next())
        self.next()  # the document ends
        if type(self.next()) is not yaml.StreamEndEvent:
            raise ValueError("holds a second document")
        return found

    def _value(self, event: Any) -> Any:
        kind = type(event)
        if kind is yaml.AliasEvent:
            if event.anchor not in self.named:
                raise ValueError(f"line {event.start_mark.line + 1}: nothing is named {event.anchor!r}")
            return self.named[event.anchor]
        if event.tag is not None:
            raise ValueError(f"line {event.start_mark.line + 1}: tags such as {event.tag!r} are not read")
        found: Any
        if kind is yaml.ScalarEvent:
            found = _plain(event.value) if event.implicit[0] else event.value
        elif kind is yaml.MappingStartEvent:
            found = _once(self._pairs())
        else:
            found = []
            while type(item := self.next()) is not yaml.SequenceEndEvent:
                found.append(self._value(item))
        if event.anchor is not None:
            self.named[event.anchor] = found
        return found

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        while type(key := self.next()) is not yaml.MappingEndEvent:
            yield self._value(key), self._value(self.next())


@cache
def _plain(text: str) -> Any:
    """What YAML makes of a word without quotes: a number, true, null or a text."""
    node = yaml.ScalarNode(_SAFE.resolve(yaml.ScalarNode, text, (True, False)), text)
    return _SAFE.construct_object(node)


_SAFE: Any = yaml.SafeLoader("")


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


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    tree: dict[Any, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} is given twice")
        tree[key] = value
    return tree
