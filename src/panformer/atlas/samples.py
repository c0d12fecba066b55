"""What is too slow to find while pages are written, kept in `parts.json`: the laws that speak of each part, and a
matrix of each mixer on tokens drawn from a seed. `python tools/atlas.py` writes the file."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "parts.json"
LENGTH, WIDTH, HEADS, SEED = 25, 32, 2, 0  # tokens (of a lattice 5 by 5), width, heads kept, seed of weights and tokens
PALE, DARK, RED = (247, 249, 252), (16, 74, 140), (160, 40, 30)


@cache
def samples() -> dict[str, Any]:
    """{"laws": {name: what it says}, "parts": {family/use: {"laws": [...], "matrix": {...} or a reason}}}."""
    found: dict[str, Any] = (
        json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {"laws": {}, "parts": {}}
    )
    return found


def drawn(use: str) -> dict[str, Any]:
    """The matrix of a mixer under its first example: each head as the root of its share of the largest entry, in 8 bits. Needs torch."""
    import torch

    from ..core.errors import PanformerError
    from ..core.part import config, find
    from ..measure.matrix import view

    tree = {"use": use, **find("mixers", use).examples[0]}
    torch.manual_seed(SEED)
    mixer = config("mixers", tree).build(WIDTH).double().eval()
    grid = (5, 5) if mixer.lattice else None
    x = torch.randn(LENGTH, WIDTH, dtype=torch.float64)
    try:
        shown = view(mixer, x, grid)
    except PanformerError as why:
        return {"why": str(why)}
    heads = shown.heads.detach()
    most, signed = float(heads.abs().max()), bool((heads < 0).any())
    shares = heads[:HEADS] / max(most, 1e-30)
    levels = (shares.sign() * shares.abs().sqrt() * 127).round().to(torch.int8)  # small entries must be seen too
    return {
        "says": shown.says, "exact": shown.exact, "signed": signed, "most": float(f"{most:.4g}"), "of": len(heads),
        "spec": tree, "heads": [base64.b64encode(bytes(h.flatten().numpy().tobytes())).decode() for h in levels],
    }  # fmt: skip


def picture(head: str, length: int = LENGTH) -> str:
    """A data address of the matrix as a PNG, one pixel an entry: blue above 0, red below."""
    levels = [b - 256 if b > 127 else b for b in base64.b64decode(head)]
    rows = [levels[i : i + length] for i in range(0, len(levels), length)]
    return "data:image/png;base64," + base64.b64encode(_png([[_colour(v / 127) for v in row] for row in rows])).decode()


def _colour(value: float) -> tuple[int, ...]:
    end = DARK if value > 0 else RED
    share = min(abs(value), 1.0)
    return tuple(round(p + (e - p) * share) for p, e in zip(PALE, end, strict=True))


def _png(pixels: Sequence[Sequence[tuple[int, ...]]]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    raw = b"".join(b"\0" + bytes(c for pixel in row for c in pixel) for row in pixels)
    size = struct.pack(">IIBBBBB", len(pixels[0]), len(pixels), 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")


def laws_of(part: str) -> Mapping[str, str]:
    """The laws that speak of a part, and what each says."""
    found = samples()
    return {name: found["laws"][name] for name in found["parts"].get(part, {}).get("laws", [])}
