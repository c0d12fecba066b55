"""A larger model that answers as the one it grew from."""

from __future__ import annotations

import torch

from ..core.errors import InputError, check_type
from ..core.part import config
from ..core.spec import Spec
from ..linears.parameter_attention import ParameterAttention
from .build import build
from .model import Model


def grow(model: Model, factor: int, seed: int = 0, hold: bool = True) -> Model:
    """The model with `factor` times as many learned tokens wherever attention to parameters stands for linear maps.

    New tokens have keys of zero and drawn values, so that nothing changes until they are trained. Without `hold` the
    scale tau follows the number of tokens, and the function does not stay. Wang et al. 2024, TokenFormer.
    Errors: InputError where there is no such map or it is weighed by softmax, which new tokens would disturb.
    """
    check_type("grow", model, Model)
    if type(factor) is not int or factor < 1:
        raise InputError(f"grow: factor is a whole number from 1 on, got {factor!r}")
    found = [m for m in model.modules() if isinstance(m, ParameterAttention)]
    if not found or any(m.weigh == "softmax" for m in found):
        raise InputError("grow: needs linears of parameter_attention that are weighed by gelu")
    new = build(_larger(model.spec, factor, hold), seed=seed).to(next(model.parameters()))
    new.travels = dict(model.travels)
    old = model.state_dict()
    with torch.no_grad():
        for name, value in new.state_dict().items():
            if value.shape == old[name].shape:
                value.copy_(old[name])
                continue
            value[: len(old[name])] = old[name]
            if name.endswith(".keys"):
                value[len(old[name]) :] = 0
    return new.train(model.training)


def _larger(spec: Spec, factor: int, hold: bool) -> Spec:
    stands = []
    for stand in spec.linears:
        c = stand.use
        if isinstance(c, ParameterAttention.Config):
            more = {"tokens": factor * c.tokens, "tau": (c.tau or c.tokens**0.5) if hold else c.tau}
            stand = stand.model_copy(update={"use": config("linears", {**c.dump(), **more})})
        stands.append(stand)
    return spec.model_copy(update={"linears": tuple(stands)})
