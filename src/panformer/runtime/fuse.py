"""Fold norms that are one factor and one offset per channel into the linear maps that read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..core.part import config
from ..core.schedule import Layer as Row
from ..core.spec import Spec
from ..model.build import build
from ..model.model import Model
from ..norms.progressive_batch import ProgressiveBatch
from ..residuals.pre import Pre

SAME = {torch.float64: 1e-10, torch.float32: 1e-4}  # most that answers may differ by, over the largest; else 0.05


def fused(model: Model, answer: Callable[[Model], Tensor]) -> tuple[Model, list[str]]:
    """(a copy in evaluation without its `progressive_batch` norms, the paths of those that it had).

    W (f x + c) + b = (W f) x + (W c + b): exact where every map that reads a norm has an offset to take c. This is so
    behind `pre` residuals, where mixer and channel have the option `bias`; other layers are left as they are, and so is
    a whole model whose training has not yet left layer normalisation behind, whose linear maps were exchanged, or whose
    `answer` (to input without padding) would change. The copy is the model of a spec, and can be saved.
    """
    old, spec = [*model.trunk.each()], _without(model.spec)
    gone = [i for i, (a, b) in enumerate(zip(model.spec.layers, spec.layers, strict=True)) if a.layer != b.layer]
    norms = {
        f"trunk.layers.{i}.residual.norms.{j}": (f"trunk.layers.{i}.{branch}.", norm)
        for i in gone
        for j, (branch, norm) in enumerate(zip(old[i].branches, _norms(old[i].residual), strict=True))
    }
    if not norms or model.spec.linears or any(norm.gamma > 0 for _, norm in norms.values()):
        return model, []
    training = model.training
    readers, want = _watched(model.eval(), norms, answer)
    state = {k: t.clone() for k, t in model.state_dict().items() if not k.startswith(tuple(norms))}
    for path, (_, norm) in norms.items():
        factor, offset = norm.affine()
        for name in readers[path]:
            weight = state[f"{name}.weight"]
            state[f"{name}.bias"] = state.get(f"{name}.bias", 0) + weight @ offset
            state[f"{name}.weight"] = weight * factor
    out = build(spec, seed=0).to(want.device, next(model.parameters()).dtype).eval()
    kept = {k: state.get(k, torch.zeros_like(t)) for k, t in out.state_dict().items()}  # new offsets that took nothing
    model.train(training)
    if set(state) - set(kept):
        return model, []
    out.load_state_dict(kept)
    with torch.no_grad():
        got = answer(out)
    most = max(SAME.get(d, 0.05) for d in (want.dtype, next(model.parameters()).dtype))
    if float((got - want).abs().max() / want.abs().max().clamp(min=1e-12)) > most:
        return model, []
    out.travels = dict(model.travels)
    return out, [*norms]


def _without(spec: Spec) -> Spec:
    stages = tuple(s.model_copy(update={"pattern": tuple(_freed(row) for row in s.pattern)}) for s in spec.schedule)
    return spec.model_copy(update={"schedule": stages})


def _freed(row: Row) -> Row:
    """A layer of a resolved spec without its norms, and with offsets, where that can be."""
    assert row.norm is not None and row.residual is not None
    parts = {n: getattr(row, n) for n in ("mixer", "cross", "channel") if getattr(row, n) is not None}
    fits = row.norm.part is ProgressiveBatch and row.residual.part is Pre
    if not fits or row.cross is not None or not all("bias" in type(c).model_fields for c in parts.values()):
        return row
    offset: dict[str, Any] = {n: c.model_copy(update={"bias": True}) for n, c in parts.items()}
    return row.model_copy(update={"norm": config("norms", "none"), **offset})


def _norms(residual: nn.Module) -> list[ProgressiveBatch]:
    return [m for m in residual.modules() if isinstance(m, ProgressiveBatch)]


def _watched(
    model: Model, norms: dict[str, tuple[str, ProgressiveBatch]], answer: Callable[[Model], Tensor]
) -> tuple[dict[str, list[str]], Tensor]:
    """(the linear maps of its branch that read each norm, the answer)."""
    said: dict[str, Tensor] = {}
    readers: dict[str, list[str]] = {path: [] for path in norms}
    hooks = []

    def listen(path: str) -> Any:
        return lambda module, args, out: said.__setitem__(path, out)

    def read(name: str, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            if path in said and args[0].shape == said[path].shape and torch.equal(args[0], said[path]):
                readers[path] += [name] if name not in readers[path] else []

        return hook

    for path, (branch, norm) in norms.items():
        hooks.append(norm.register_forward_hook(listen(path)))
        for name, module in model.named_modules(remove_duplicate=False):
            if name.startswith(branch) and isinstance(module, nn.Linear):
                hooks.append(module.register_forward_pre_hook(read(name, path)))
    try:
        with torch.no_grad():
            return readers, answer(model)
    finally:
        for hook in hooks:
            hook.remove()
