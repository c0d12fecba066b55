"""Pictures: files to arrays, one size for all, and what is wrong with a file that cannot be read."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, require
from .raw import reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read_image(path: Path) -> np.ndarray:
    """(H, W) grey or (H, W, 3) colour, uint8, turned as the camera says; 16-bit grey becomes float in [0, 1]."""
    pil = require("PIL.Image", "choose")
    ops = require("PIL.ImageOps", "choose")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            with pil.open(path) as file:
                image = ops.exif_transpose(file)
                if image.mode == "F":
                    raise ValueError("its pixels are fractions, whose range no one knows; save it with 8 or 16 bits")
                if image.mode.startswith("I"):
                    return np.clip(np.asarray(image).astype(np.float64) / 65535, 0, 1)
                return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError, pil.DecompressionBombWarning) as fault:
        raise InputError(
            f"{path}: cannot be read as a picture ({reason(fault).replace(str(path), path.name)})"
        ) from None


def pixels(image: Any, channels: int) -> np.ndarray:
    """(H, W, channels) float64, uint8 as 0..1: grey is repeated, colour turned grey by its mean, as needed."""
    x = np.asarray(image)
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or not x.size:
        raise InputError(f"a picture has shape {x.shape}; expected (H, W) or (H, W, C)")
    x = x / 255.0 if x.dtype == np.uint8 else x.astype(np.float64)
    if x.shape[2] == channels:
        return x
    if x.shape[2] == 1:
        return np.repeat(x, channels, 2)
    if channels == 1:
        return x.mean(2, keepdims=True)
    raise InputError(f"a picture has {x.shape[2]} channels; the others have {channels}")


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, C) -> (size, C): areas averaged when it shrinks, bilinear when it grows; the same size is untouched."""
    if image.shape[:2] == tuple(size):
        return image
    import torch

    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]
    x = torch.nn.functional.interpolate(x, tuple(size), mode="bilinear", antialias=True)
    return x[0].numpy().transpose(1, 2, 0)


def common_size(sizes: list[tuple[int, int]], wish: int | None) -> tuple[tuple[int, int], str]:
    """((H, W), why): the wish; else the size all share, up to 96; else a square near the median side, up to 64."""
    if wish is not None:
        return (wish, wish), f"pictures are resized to {wish}x{wish} as asked"
    distinct = set(sizes)
    if len(distinct) == 1 and max(sizes[0]) <= 96:
        return sizes[0], f"all pictures are {sizes[0][0]}x{sizes[0][1]}"
    side = int(np.median([min(s) for s in sizes]))
    side = max(8, min(64, side // 8 * 8))
    told = f"{len(distinct):,} sizes" if len(distinct) > 1 else f"{sizes[0][0]}x{sizes[0][1]} pictures"
    return (side, side), f"{told} -> resized to {side}x{side}"
