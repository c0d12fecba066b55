"""Parts in the place of linear maps, chosen by their path in the model."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from ..core.errors import InputError
from ..core.families import Linear
from ..core.maps import is_plain
from ..core.spec import Stand


def replace_linears(root: nn.Module, stand: Stand) -> list[str]:
    """Replace every plain linear map below `root` that `stand.where` fits; returns their paths.

    A map that is used in several places is replaced once. Errors: InputError where none fits, or one cannot be.
    """
    done: dict[int, Linear] = {}
    paths = []
    for path, module in list(root.named_modules(remove_duplicate=False)):
        if not is_plain(module) or not fnmatchcase(path, stand.where):
            continue
        if id(module) not in done:
            part: Linear = stand.use.part(stand.use, module.in_features, module.out_features, module.bias is not None)
            part.take(module)
            done[id(module)] = part.train(module.training).to(module.weight.device)
        home, _, name = path.rpartition(".")
        setattr(root.get_submodule(home), name, done[id(module)])
        paths.append(path)
    if not paths:
        raise InputError(f"linears: no linear map of this model fits {stand.where!r}")
    return paths
