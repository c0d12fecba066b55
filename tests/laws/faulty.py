"""Real parts with one planted fault each, named after what is wrong."""

from __future__ import annotations

import torch
from pydantic import ConfigDict
from torch import nn

from panformer.channels.mlp import Mlp
from panformer.channels.moe import Moe
from panformer.core import state as states
from panformer.core.families import Channel, Mixer
from panformer.core.layout import Layout
from panformer.core.part import Config as Base
from panformer.core.score import Causal
from panformer.embeds.tokens import Tokens
from panformer.mixers.attention import Attention
from panformer.mixers.linear_attention import LinearAttention
from panformer.normalisers.relu import Relu
from panformer.norms.group import Group
from panformer.norms.rms import Rms
from panformer.norms.timestep import Timestep
from panformer.objectives.causal_lm import CausalLm
from panformer.positions.rope import Rope


class LeaksOneToken(Attention):
    def forward(self, x, at, shared=None):
        ahead = at.clean(x).roll(-1, 1) * (at.seg == at.seg.roll(-1, 1))[..., None]
        return super().forward(x, at, shared) + 1e-6 * ahead


class ClaimsToLookAhead(Attention):
    def __init__(self, c, width):
        super().__init__(c, width)
        self.causal = False


class MixesChannelTokens(Mlp):
    def forward(self, x, at, shared=None):
        return super().forward(x, at, shared) + 1e-6 * at.clean(x).cumsum(1)


class ShrinksForEver(Mlp):
    def after_step(self):
        self.up.weight.mul_(0.99)


class ForgetsDocuments(Attention):
    """A causal mask without the mask that keeps documents apart."""

    def __init__(self, c, width):
        super().__init__(c, width)
        self.mask = Causal()


class SumsNarrowly(LinearAttention):
    """Keeps its sums in the type of the tokens."""

    def chunk(self, x, at, state, shared=None):
        y, after = super().chunk(x, at, state, shared)
        return y, states.each(lambda z: z if z.dtype == torch.float64 else z.to(x.dtype), after)


class ShowsTheFuture(Attention):
    """Shows a map of values that it does not use: one without the causal mask."""

    def mixing(self, x, at):
        q, kv = self._maps(at.clean(x), at)
        return lambda v: (q @ kv.k.mT).softmax(-1) @ v, kv.v


class IgnoresStarts(Attention):
    """Takes all documents of a row for one."""

    def forward(self, x, at, shared=None):
        return super().forward(x, Layout(at.seg.clamp(max=0), at.pos), shared)


class ReadsPadding(Attention):
    """Zeros at padding, but attends to them."""

    def forward(self, x, at, shared=None):
        return super().forward(at.clean(x), Layout(at.seg.clamp(min=0), at.pos), shared)


class CountsPadding(Group):
    """The mean of a sequence, with its padding in it."""

    def forward(self, x, at):
        x = at.clean(x)
        return super().forward(x - x.mean((1, 2), keepdim=True), at) if at.full else x - x.mean((1, 2), keepdim=True)


class ForgetsStatistics(Timestep):
    """Every chunk is normalised as if nothing had been before it."""

    def chunk(self, x, at, state):
        return super().chunk(x, at, torch.zeros_like(state))


class KeepsJunk(Rms):
    """Leaves NaN at padding, which reaches the gradient of the weights."""

    def forward(self, x, at):
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight


class DropsGradient(Attention):
    def _maps(self, x, at, shared):
        q, kv = super()._maps(x, at, shared)
        return q, kv._replace(v=kv.v.detach())


class WrongScaleInChunks(Attention):
    def chunk(self, x, at, state, shared=None):
        right, self.scale = self.scale, self.scale * 1.001
        try:
            return super().chunk(x, at, state, shared)
        finally:
            self.scale = right


class PaddingEntersState(Attention):
    """Keys of padding are kept as if they were tokens."""

    def chunk(self, x, at, state, shared=None):
        return super().chunk(at.clean(x), Layout(at.seg.clamp(min=0), at.pos), state, shared)


class CountsTokens(Attention):
    """Takes the time from a counter in its state instead of the layout."""

    def start(self, batch, like):
        return (0, super().start(batch, like))

    def chunk(self, x, at, state, shared=None):
        count, inner = state
        pos = count + torch.arange(x.shape[1]).expand(at.batch, -1)[..., None]
        out, inner = super().chunk(x, Layout(at.seg, pos), inner, shared)
        return out, (count + x.shape[1], inner)


class HidesCounter(CountsTokens):
    """The same with a tensor per row, which can be reordered but counts padding."""

    def start(self, batch, like):
        return (torch.zeros(batch, 1, 1, dtype=torch.int64), Attention.start(self, batch, like))


class HeadsFirst(Attention):
    """A state whose first dimension is not the batch."""

    def start(self, batch, like):
        return states.each(lambda t: t.transpose(0, 1), super().start(batch, like))

    def chunk(self, x, at, state, shared=None):
        out, state = super().chunk(x, at, states.each(lambda t: t.transpose(0, 1), state), shared)
        return out, states.each(lambda t: t.transpose(0, 1), state)


class Recurrence(Mixer):
    """h_t = a h_{t-1} + conv(x)_t with a short causal convolution: a right part that the faults below change."""

    paper = "a planted part"
    causal = True
    kernel = 3

    class Config(Base):
        pass

    def __init__(self, c, width):
        super().__init__()
        self.a = nn.Parameter(torch.full((width,), 0.5))
        self.w = nn.Parameter(torch.randn(self.kernel, width))

    def forward(self, x, at, shared=None):
        x = at.to_rows(at.clean(x))
        before = x.new_zeros(len(x), self.kernel - 1, x.shape[-1])
        return at.from_rows(self._scan(self._conv(x, before), 0 * x[:, 0])[0])

    def start(self, batch, like):
        width = self.a.shape[0]
        return like.new_zeros(batch, self.kernel - 1, width), like.new_zeros(batch, width)

    def chunk(self, x, at, state, shared=None):
        x, (past, h), outs = at.clean(x), state, []
        for t in range(x.shape[1]):
            real = at.valid[:, t : t + 1].expand(len(x), 1)
            token = x[:, t : t + 1]
            y, new = self._scan(self._conv(token, past), h)
            past = self._remember(past, token, real[..., None])
            h = torch.where(real, new, h)
            outs.append(y)
        return torch.cat(outs, 1), (past, h)

    def _conv(self, x, past):
        return torch.cat([past, x], 1).unfold(1, self.kernel, 1).mul(self.w.T).sum(-1)

    def _remember(self, past, token, real):
        return torch.where(real, torch.cat([past, token], 1)[:, 1:], past)

    def _scan(self, x, h):
        outs = []
        for t in range(x.shape[1]):
            h = self.a * h + x[:, t]
            outs.append(h)
        return torch.stack(outs, 1), h


class DecaysTwice(Recurrence):
    """One factor of decay too many between chunks."""

    def chunk(self, x, at, state, shared=None):
        out, (past, h) = super().chunk(x, at, state, shared)
        return out, (past, h * self.a if x.shape[1] > 1 else h)


class ConvolvesPadding(Recurrence):
    """Padding pushes real tokens out of the state of the convolution."""

    def _remember(self, past, token, real):
        return torch.cat([past, token], 1)[:, 1:]


class CarriesOver(Recurrence):
    """The state of one document runs on into the next."""

    def forward(self, x, at, shared=None):
        return super().forward(x, Layout(at.seg.clamp(max=0), at.pos))


class BoastsOfGrowth(Attention):
    def __init__(self, c, width):
        super().__init__(c, width)
        self.growth = "n"


class SavesNoise(Mlp):
    """Every save adds something else."""

    def state_dict(self, *args, **kwargs):
        return {k: v + torch.rand(()) * 1e-9 for k, v in super().state_dict(*args, **kwargs).items()}


class ForgetsToSave(Mlp):
    """Random features that are drawn anew when the part is loaded."""

    def __init__(self, c, width):
        super().__init__(c, width)
        self.register_buffer("features", torch.randn(width), persistent=False)

    def forward(self, x, at, shared=None):
        return super().forward(x * self.features, at, shared)


class AcceptsAnything(Mlp):
    class Config(Mlp.Config):
        model_config = ConfigDict(extra="ignore", frozen=True)


class IgnoresBias(Attention):
    """An option that is read and not used."""

    def __init__(self, c, width):
        super().__init__(c.model_copy(update={"bias": False}), width)


class IgnoresBase(Rope):
    def __init__(self, c, heads, size):
        super().__init__(c.model_copy(update={"base": 10_000.0}), heads, size)


class OtherWhenCompiled(Mlp):
    def forward(self, x, at, shared=None):
        out = super().forward(x, at, shared)
        return out * 1.001 if torch.compiler.is_compiling() else out


class AnswersWide(Mlp):
    """Half precision in, single precision out."""

    def forward(self, x, at, shared=None):
        return super().forward(x, at, shared).to(torch.promote_types(x.dtype, torch.float32))


class BorrowsNothing(Attention):
    """Computes its own keys though it said that it borrows."""

    def _lent(self, shared):
        return None

    def borrow(self, name):
        pass


class CountsPaddingAsLoad(Moe):
    """Padding takes part in the balance loss."""

    def forward(self, x, at, shared=None):
        everywhere = Layout(at.seg.clamp(min=0), at.pos)
        super().forward(at.clean(x), everywhere, shared)
        return super().forward(x, at)


class StreamsNothing(Attention):
    streams = False


class NamesNoSource(Channel):
    """x W."""

    class Config(Base):
        pass

    def __init__(self, c, width):
        super().__init__()
        self.w = nn.Parameter(torch.randn(width, width))

    def forward(self, x, at, shared=None):
        return at.clean(x) @ self.w


class HidesCoupling(Moe):
    """Drops tokens by capacity, but says that each is answered alone."""

    def __init__(self, c, width):
        super().__init__(c, width)
        self.couples = None


class ClaimsToCouple(Moe):
    def __init__(self, c, width):
        super().__init__(c, width)
        self.couples = "sequence"


class StepsOtherwise(Attention):
    def step(self, x, at, state, shared=None):
        return super().step(x * 1.001, at, state, shared)


class ComparesRows(Rms):
    """A norm with statistics of the batch."""

    def forward(self, x, at):
        return super().forward(at.clean(x) - 0.1 * at.clean(x).mean((0, 1)), at)


class LeavesPadding(Tokens):
    """Hidden padding is what the position vectors leave there."""

    def forward(self, raw, at=None):
        x, there = super().forward(raw, at)
        return x + 1e-3 * ~there.valid[..., None], there


class AsksPadding(CausalLm):
    """The last token of a padded row is asked for what stands after it."""

    def corrupt(self, raw, at, rng):
        shown, target = super().corrupt(raw, at, rng)
        target[:, :-1] = torch.where(at.valid[:, :-1] & ~at.valid[:, 1:], 1, target[:, :-1])
        return shown, torch.where(~at.valid, 1, target)


class DrawsElsewhere(CausalLm):
    """Corruption from the global generator."""

    def corrupt(self, raw, at, rng):
        shown, target = super().corrupt(raw, at, rng)
        return torch.where(torch.rand(raw.shape) < 0.5, 0, shown), target


class MixesImages(Attention):
    """On a lattice, the mean over the batch enters every image."""

    def forward(self, x, at, shared=None):
        return super().forward(x if at.grid is None else x - 0.1 * x.mean(0), at, shared)


class CountsAllKeys(Relu):
    """Divides by all keys that there are in the row, visible or not."""

    def forward(self, score, keep, seen):
        return super().forward(score, keep, torch.full_like(seen, score.shape[-1]))
