"""Memory that was freed is kept for the next tensor."""

from __future__ import annotations

import ctypes
import gc
import os
import sys

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # of glibc's mallopt
SAID = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed() -> bool:
    """From now on this process keeps what it frees; whether that could be arranged.

    glibc gives tensors over 32 MB back at once and gets the next ones anew, with a page fault for every 4 KB: long
    sequences take up to three times as long. The price is that the process stays as large as it once was, or half as
    large again; where shapes change for ever it may grow further, so `give_back` belongs between pieces of work.
    `panformer train` and `bench` call it; a program of yours may. Whoever has set glibc's own variables
    (`MALLOC_TRIM_THRESHOLD_` and the like) keeps what they say, and other C libraries are left alone.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in SAID):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Memory that is free now goes back to the system, whatever `keep_freed` says of later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
