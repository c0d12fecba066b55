"""LSTM: the recurrent network that the Transformer replaced, as a control of fixed memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..core.families import Mixer
from ..core.layout import Layout, exporting
from ..core.part import Config as Base
from ..core.shared import Shared
from ..ops.conv import pick
from ..ops.scan import loop


class LSTM(Mixer):
    """c_t = f c_{t-1} + i tanh(.), h_t = o tanh(c_t), gates i, f, o from x_t and h_{t-1}; answers h_t.

    Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000, its bias starting at 1 (Jozefowicz et al. 2015).
    """

    paper = "Hochreiter & Schmidhuber 1997, Long short-term memory"
    causal = True

    class Config(Base):
        forget: float = Field(1.0, description="start value of the forget gate's bias")

    def __init__(self, c: Config, width: int) -> None:
        super().__init__()
        self.width = width
        self.cell = nn.LSTM(width, width, batch_first=True)
        into, over = self.cell.get_parameter("bias_ih_l0"), self.cell.get_parameter("bias_hh_l0")  # one is enough
        with torch.no_grad():
            into.zero_()
            over.zero_()
            into[width : 2 * width] = c.forget  # gates lie as input, forget, cell, output

    def forward(self, x: Tensor, at: Layout, shared: Shared | None = None) -> Tensor:
        if exporting():
            return self._loop(x, at, self.start(x.shape[0], x))[0]
        with self._backend():
            return at.from_rows(self.cell(at.to_rows(x))[0])

    def start(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_zeros(batch, self.width), like.new_zeros(batch, self.width)

    def chunk(self, x, at, state, shared=None):
        if exporting():
            return self._loop(x, at, state)
        if at.full:
            y, state = self._run(x, state)
            return y, state
        count = at.valid.sum(1)
        some = count.nonzero()[:, 0]  # rows with a new token
        if not len(some):
            return torch.zeros_like(x), state
        order = (~at.valid).to(torch.int8).argsort(dim=1, stable=True)  # valid tokens first
        front = pick(at.clean(x), order)[some]
        packed = pack_padded_sequence(front, count[some].cpu(), batch_first=True, enforce_sorted=False)
        y, now = self._run(packed, tuple(s[some] for s in state))
        y = pad_packed_sequence(y, batch_first=True, total_length=at.length)[0]
        y = torch.zeros_like(x).index_copy(0, some, y)
        y = torch.zeros_like(x).scatter(1, order[..., None].expand_as(x), y)
        return y, tuple(s.index_copy(0, some, n) for s, n in zip(state, now, strict=True))

    def _loop(self, x: Tensor, at: Layout, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The formula token by token, as one operation of an exported graph; padding leaves the state as it is."""
        into, over, *offsets = self.cell.all_weights[0]
        drive = F.linear(at.clean(x), into, offsets[0] + offsets[1])

        def advance(state: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            h, c = state
            drive, live = now
            i, f, g, o = (drive + F.linear(h, over)).chunk(4, -1)
            new = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return torch.where(live, o.sigmoid() * new.tanh(), h), torch.where(live, new, c)

        last, path = loop(advance, state, (drive, at.valid[..., None].expand(*x.shape[:2], 1)))
        return at.clean(path[0]), last

    def _run(self, x, state: tuple[Tensor, Tensor]):
        with self._backend():
            y, (h, c) = self.cell(x, (state[0][None], state[1][None]))
        return y, (h[0], c[0])

    def _backend(self) -> AbstractContextManager[None]:
        """cuDNN keeps what a backward pass needs in training mode only; where one may come in evaluation, torch runs."""
        if self.training or not torch.is_grad_enabled() or not self.cell.all_weights[0][0].is_cuda:
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=False)
