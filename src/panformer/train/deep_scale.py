"""Models whose every sublayer answers with variance 1 before training, however deep they are."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ..core.errors import InputError
from ..core.part import config
from ..core.spec import Spec, Stand, read, resolve
from ..measure import moments as theory


def deep_scale(
    spec: Spec | dict[str, Any],
    correlation: float,
    tokens: int,
    k: float = 1.0,
    carries: Literal["stream", "norm"] = "stream",
) -> Spec:
    """The spec with `deep_scale` residuals of share k / layers, and maps drawn so that sublayers answer with variance 1.

    `correlation` is that of two embedded tokens of a sequence, as which the share of equal pairs of tokens will do;
    `tokens` is how many a sequence has. Embedded tokens are normalised, unless they are already. Maps of values and
    of their output get the gain v^(-1/2) each, v the variance that attention would have with gains of 1, which depends
    on the correlation in each layer; the maps of a network likewise. Kedia et al. 2024, DeepScaleLM.
    Errors: InputError where a sublayer is neither attention nor mlp, or k does not fit the layers.
    """
    plain = read(spec)
    share = k / len(plain.layers)
    if not 0 < share < 1:
        raise InputError(f"deep_scale: k must lie between 0 and the number of layers, {len(plain.layers)}, got {k:g}")
    embed: Any = plain.embed
    if embed.norm is None:
        embed = embed.model_copy(update={"norm": config("norms", "layer")})
    residual = config("residuals", {"use": "deep_scale", "share": share, "carries": carries})
    spec = resolve(plain.model_copy(update={"embed": embed, "residual": residual}))
    keys = torch.arange(1.0, tokens + 1) if spec.causal else torch.full((tokens,), float(tokens))
    x, stands = theory.Moments(1.0, correlation), {}
    for i, placed in enumerate(spec.layers):
        for name in ("mixer", "channel"):
            c: Any = getattr(placed.layer, name)
            if c is None:
                continue
            answer = theory.unit_answer(c, x.correlation, spec.width, keys)
            ends = "[vo]" if name == "mixer" else "*"
            stands[f"trunk.layers.{i}.{name}.{ends}"] = answer.variance**-0.25
            x = theory.joined(x, answer._replace(variance=1.0), (1 - share) ** 0.5, share**0.5)
    drawn = (Stand(where=where, use=config("linears", {"use": "gain", "by": by})) for where, by in stands.items())
    return spec.model_copy(update={"linears": (*spec.linears, *drawn)})
