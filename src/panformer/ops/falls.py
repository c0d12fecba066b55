"""Log-decays summed along sequences."""

from __future__ import annotations

from torch import Tensor

from ..core.layout import Layout

LOST = -128.0  # a log-decay that leaves nothing in float32: lower ones would only cost sums of them their digits


def fallen(fall: Tensor, at: Layout, one: bool) -> Tensor:
    """Log-decays of tokens (B, H, T), summed from the start of each sequence, or of each row with `one`; in float64.

    Sums that ran on over all sequences of a row would give the next one a gradient of rounding errors. What is below
    `LOST` counts as that.
    """
    fall = at.clean(fall.double().clamp_min(LOST).mT)
    return (fall.cumsum(1) if one else at.from_rows(at.to_rows(fall).cumsum(1))).mT
