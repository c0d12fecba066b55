"""Another operator in the place of a built model's softmax attention, for as long as a question lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from .model import Model


@contextmanager
def swapped(model: Model, operator: Callable[..., Tensor]) -> Iterator[None]:
    """Within, every mixer that calls `ops.attend` calls `operator`, which takes the same arguments."""
    mixers: list[Any] = [m for m in model.modules() if hasattr(type(m), "operator")]
    for mixer in mixers:
        mixer.operator = operator
    try:
        yield
    finally:
        for mixer in mixers:
            del mixer.operator
