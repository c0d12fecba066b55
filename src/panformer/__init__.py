"""panformer: Transformer-family mechanisms as small swappable parts that provably do what they say.

    model = panformer.build("vit")               # a preset, a spec file or a tree
    model = panformer.load("runs/best")          # a saved folder
    batch = panformer.pack([a, b, c])            # ragged sequences without padding
    x = panformer.part("mixers", "attention", 64, heads=4)

Names are loaded on first use, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "build": "model.build",
    "part": "model.build",
    "Model": "model.model",
    "Output": "model.model",
    "load": "model.io",
    "save": "model.io",
    "grow": "model.grow",
    "learn_only": "model.learns",
    "keep_freed": "core.memory",
    "optimize": "runtime.optimize",
    "estimate": "runtime.estimate",
    "Layout": "core.layout",
    "Batch": "core.layout",
    "pack": "core.layout",
    "pad": "core.layout",
    "Spec": "core.spec",
    "find": "core.part",
    "known": "core.part",
    "InputError": "core.errors",
    "PanformerError": "core.errors",
}
__all__ = [*_HOMES, "__version__"]

if TYPE_CHECKING:
    from .core.errors import InputError, PanformerError
    from .core.layout import Batch, Layout, pack, pad
    from .core.memory import keep_freed
    from .core.part import find, known
    from .core.spec import Spec
    from .model.build import build, part
    from .model.grow import grow
    from .model.io import load, save
    from .model.learns import learn_only
    from .model.model import Model, Output
    from .runtime.estimate import estimate
    from .runtime.optimize import optimize


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"panformer has no {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
