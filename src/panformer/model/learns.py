"""Which weights training may change."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from ..core.errors import InputError, check_type


def learn_only(model: nn.Module, *names: str) -> int:
    """Let only the weights learn whose name fits one of the patterns; returns how many numbers that is.

    Patterns are those of shells over `named_parameters`: `learn_only(model, "*.mixer.*", "head.*")` fine-tunes the
    mixing of tokens and the head alone (Touvron et al. 2022); `"*"` lets everything learn again. What does not learn
    takes no gradient, no state of the optimiser and no time in the backward pass beyond what lies before it.
    Errors: InputError where a pattern fits no weight.
    """
    check_type("learn_only", model, nn.Module)
    for pattern in names:
        check_type("learn_only: a pattern", pattern, str)
    weights = dict(model.named_parameters())
    for pattern in names:
        if not any(fnmatchcase(name, pattern) for name in weights):
            some = ", ".join(list(weights)[:4])
            raise InputError(f"learn_only: no weight is called {pattern!r}; names are like {some}")
    for name, weight in weights.items():
        weight.requires_grad_(any(fnmatchcase(name, pattern) for pattern in names))
    return sum(w.numel() for w in weights.values() if w.requires_grad)
