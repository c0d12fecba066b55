"""Carry the weights of a public implementation over by rules on names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import require

Rules = Sequence[tuple[str, str]]  # (pattern of our name, their name); the first that matches counts


def public(module: str) -> Any:
    """A module of an optional package that only parity needs."""
    return require(module, "hf")


def carry(ours: nn.Module, theirs: Mapping[str, Tensor], rules: Rules, unread: str = "$^") -> None:
    """Fill every tensor of ours from theirs; every one of theirs must be read, but for names that match `unread`."""
    read = set()
    filled = {}
    for name, own in ours.state_dict().items():
        source = _source(name, rules)
        value = theirs[source]
        read.add(source)
        filled[name] = value.view_as(own) if value.numel() == own.numel() else _piece(name, value, own)
    ours.load_state_dict(filled)
    left = [n for n in theirs if n not in read and not re.search(unread, n)]
    if left:
        raise ValueError(f"weights of the peer that nothing reads: {left[:4]}")


def randomise(module: nn.Module, seed: int) -> None:
    """Draw every parameter, norms and offsets too, so that none can be forgotten unseen."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            p.copy_(torch.randn(p.shape, generator=rng, dtype=torch.float64) * 0.3 + ("norm" in name.lower()) * 1.0)


def _source(name: str, rules: Rules) -> str:
    for pattern, target in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, target, name)
    raise ValueError(f"no rule for {name}")


def _piece(name: str, value: Tensor, own: Tensor) -> Tensor:
    """Ours out of a fused weight: the query, key, value or the gate, up part of its rows."""
    order = {"q": 0, "k": 1, "v": 2, "gate": 0, "up": 1}
    start = order[name.split(".")[-2]] * len(own)
    return value[start : start + len(own)]
