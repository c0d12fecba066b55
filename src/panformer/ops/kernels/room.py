"""How much of a long input to work on at a time."""

from __future__ import annotations

import torch

ROOM = 1 << 18  # numbers that stay in a CPU's cache, and are enough for a call to cost less than its work
MORE = 64  # as many times on other devices, where calls cost more


def at_once(numbers: int, device: torch.device) -> int:
    """How many things of so many numbers each; at least one."""
    return max(1, (ROOM if device.type == "cpu" else MORE * ROOM) // max(1, numbers))
