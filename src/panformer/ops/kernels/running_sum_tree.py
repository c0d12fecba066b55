"""running_sum as one associative scan: work and memory linear in the tokens."""

from __future__ import annotations

from operator import add

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import Kernel
from ..scan import scan


def refuses(x: Tensor, fresh: Tensor, start: Tensor | None) -> str | None:
    return None


def run(x: Tensor, fresh: Tensor, start: Tensor | None) -> Tensor:
    line = x.to(torch.promote_types(x.dtype, torch.float32))
    if start is None:
        return scan(add, line, fresh).to(x.dtype)
    line = torch.cat((start.to(line.dtype)[:, None], line), 1)
    return scan(add, line, F.pad(fresh, (1, 0)))[:, 1:].to(x.dtype)


TREE = Kernel("tree", refuses, run)
