"""Tell the spans that were cut out of a text."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from ..core.errors import InputError
from ..core.families import Objective
from ..core.layout import Layout, pad
from ..core.pair import Pair
from ..core.part import Config as Base
from ._mean import IGNORE, cross_entropy


class SpanCorruption(Objective):
    """-log p(S0 span_0 S1 span_1 ... | text with S0, S1, ... in the place of the spans), mean over the tokens told.

    Of n tokens round(n `rate`), at least 1 and at most n - 1, are cut out in round(that / `span`) spans, at least 1 and
    at most `sentinels`. The lengths of the spans, and of the kept pieces before them, are drawn among all that add up
    so: a kept piece comes first, a span last. Sentinel i is the id `sentinel` - i. `end` closes both sides, the decoder
    starts from `start`. Of a text of 1 token nothing is cut out. raw is (B, T) ids in any layout; the answer has one
    row per text, as a `Pair` for an encoder-decoder. Raffel et al. 2019; Xue et al. 2021 (bytes: spans of 20).
    """

    paper = "Raffel et al. 2019, Exploring the limits of transfer learning with a unified text-to-text transformer"
    examples = (
        {"sentinel": 10, "sentinels": 11},
        {"sentinel": 10, "sentinels": 4, "rate": 0.5, "span": 5.0, "start": 9, "end": 1},
    )

    class Config(Base):
        sentinel: int = Field(ge=0, description="the id of the first sentinel; the next ones are below it")
        sentinels: int = Field(100, gt=0, description="how many there are at most")
        rate: float = Field(0.15, gt=0, lt=1, description="share of the tokens that are cut out")
        span: float = Field(3.0, ge=1, description="mean length of a span")
        start: int = Field(0, ge=0, description="the id that the decoder starts from")
        end: int | None = Field(None, ge=0, description="the id that ends source and answer; default: none does")

    def __init__(self, c: Config) -> None:
        super().__init__()
        if c.sentinels > c.sentinel + 1:
            raise InputError(f"span_corruption: {c.sentinels} sentinels from id {c.sentinel} down would end below 0")
        self.config = c

    def corrupt(self, raw: Tensor, at: Layout, rng: torch.Generator) -> tuple[Pair, Tensor]:
        if not isinstance(raw, Tensor) or raw.dim() != 2:
            raise InputError("span_corruption reads ids (B, T) without labels")
        flat, texts = at.ordinal[at.valid], raw[at.valid]
        sources, answers = zip(*(self.split(texts[flat == n], rng) for n in range(at.sequences)), strict=True)
        start = raw.new_tensor([self.config.start])
        target = torch.nn.utils.rnn.pad_sequence(list(answers), batch_first=True, padding_value=IGNORE)
        return Pair(pad([torch.cat([start, a[:-1]]) for a in answers]), pad(sources)), target

    def split(self, text: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """text (n,) -> (what the encoder reads, what is to be told); (1,) of IGNORE where nothing is to be told."""
        c = self.config
        pieces = _pieces(text, c, rng)
        count = len(pieces) // 2
        marks = [text.new_tensor([c.sentinel - i]) for i in range(count)]
        end = [] if c.end is None else [text.new_tensor([c.end])]
        source = [part for pair in zip(pieces[::2], marks, strict=True) for part in pair] if count else [text]
        answer = [part for pair in zip(marks, pieces[1::2], strict=True) for part in pair]
        return torch.cat([*source, *end]), torch.cat([*answer, *end] or [text.new_tensor([IGNORE])])

    def loss(self, out: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        """out (N, T, vocab), target (N, T)."""
        return cross_entropy(out, target)


def _pieces(text: Tensor, c: SpanCorruption.Config, rng: torch.Generator) -> tuple[Tensor, ...]:
    """The text as kept piece, span, kept piece, span, ...; whole where it has a single token."""
    n = len(text)
    if n < 2:
        return (text,)
    cut = min(max(round(n * c.rate), 1), n - 1)
    count = min(max(round(cut / c.span), 1), n - cut, c.sentinels)
    kept, spans = _parts(n - cut, count, rng), _parts(cut, count, rng)
    return text.split([size for pair in zip(kept, spans, strict=True) for size in pair])


def _parts(total: int, count: int, rng: torch.Generator) -> list[int]:
    """`count` positive sizes that add up to `total`, every such list as likely as another."""
    borders = torch.randperm(total - 1, generator=rng, device=rng.device)[: count - 1].sort().values.tolist()
    edges = [0, *(b + 1 for b in borders), total]
    return [b - a for a, b in zip(edges, edges[1:], strict=False)]
