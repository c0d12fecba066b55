"""Real text that comes with the interpreter: its help topics, and the source of its standard library."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...core.errors import EnvironmentGap

END, MASK, VOCAB = 256, 257, 258  # as in data/: bytes, the end of a document, the mask
PACKAGES = ("asyncio", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest", "urllib", "xml")


@cache
def documents(source: str) -> tuple[bytes, ...]:
    """`docs`: the language reference behind help(); `code`: one document per source file. Nothing stands twice."""
    if source == "docs":
        from pydoc_data.topics import topics

        return _once(topics[name].encode() for name in sorted(topics))
    return _once(raw for name in PACKAGES for raw in package(name))


def _once(raws: Iterable[bytes]) -> tuple[bytes, ...]:
    """Documents without the paragraphs that an earlier place had: some help topics repeat parts of others."""
    seen: set[bytes] = set()
    out = []
    for raw in raws:
        kept = []
        for part in raw.split(b"\n\n"):
            if part.strip() not in seen:
                seen.add(part.strip())
                kept.append(part)
        out.append(b"\n\n".join(kept))
    return tuple(out)


@cache
def package(name: str) -> tuple[bytes, ...]:
    """The source files of a standard package, its tests left out."""
    home = Path(sysconfig.get_path("stdlib")) / name
    files = sorted(p for p in home.rglob("*.py") if "test" not in p.stem and "tests" not in p.parts)
    if not files:
        raise EnvironmentGap(f"this Python ships no source of {name}")
    return tuple(p.read_bytes() for p in files)


def halves(raw: bytes, share: float = 0.8) -> tuple[Tensor, Tensor]:
    """The first part of a document for training and its end for the test, as bytes."""
    cut = int(len(raw) * share)
    first, last = (torch.frombuffer(bytearray(side or b"\n"), dtype=torch.uint8) for side in (raw[:cut], raw[cut:]))
    return first, last


@cache
def streams(source: str) -> tuple[Tensor, Tensor]:
    """(training, test) text of a source in one row each, documents ended by a line break."""
    sides = list(zip(*(halves(raw) for raw in documents(source)), strict=True))
    return torch.cat(sides[0]), torch.cat(sides[1])


def windows(text: Tensor, rng: torch.Generator, count: int, length: int) -> Tensor:
    """(count, length) int64, pieces that begin at random places."""
    at = torch.randint(0, len(text) - length, (count, 1), generator=rng)
    return text[at + torch.arange(length)].long()
