"""Memory that was freed is kept for the next tensor, or given back; how much this process held."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

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


def peak_from_here() -> int:
    """Bytes held now; where the system can, the peak starts anew from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes this process held, since `peak_from_here` where the system can tell."""
    try:
        return _status("VmHWM")
    except OSError:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def installed() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
