"""Facts about T5 on bytes: its tokenizer, its forward pass, its corrupted spans, and its work."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...convert.convert import from_module
from ...core.families import Mixer
from ...core.part import config
from ...data.prepare import END, Text
from ...measure import cost
from ...model.build import build
from ...objectives.span_corruption import SpanCorruption
from ...papers.schema import Change
from .. import registry
from ..arms import spec_of
from ..peers._copy import public, randomise
from ..tasks import sounds

Pair = tuple[Tensor, Tensor]
SHIFT, CLOSE, ROOM = 3, 1, 96  # ids of pad, end and unknown come first in theirs; the end; ids that are compared
TEXTS = (
    "", "plain words", "naïve Füße ﬁt", "日本語 и ещё", "🙂\n\ttab\x00", "e\u0301 combining, ½ of a ㎏", "  two  spaces ",
)  # fmt: skip


def tokenizer(seed: int, normal: bool = False) -> Pair:
    """Our ids of texts, moved as ByT5Tokenizer numbers them, and its own; `normal` brings the text to NFKC first, as
    vocabularies of subwords do."""
    peer = public("transformers").ByT5Tokenizer()
    ours, theirs = torch.zeros(2, len(TEXTS), ROOM, dtype=torch.int64)
    for i, text in enumerate(TEXTS):
        ids = Text().encode(unicodedata.normalize("NFKC", text) if normal else text)
        ours[i, : len(ids)] = torch.where(ids == END, CLOSE, ids + SHIFT)
        own = peer(text).input_ids
        theirs[i, : len(own)] = torch.tensor(own)
    return ours, theirs


def forward(seed: int, scaled: bool = False) -> Pair:
    """Logits of a small T5ForConditionalGeneration of ByT5's form over padded sources, and ours on its weights.

    `scaled` divides our scores by the root of the head width, which T5 does not.
    """
    t = public("transformers")
    c = t.T5Config(
        vocab_size=40, d_model=16, d_kv=6, d_ff=28, num_layers=3, num_decoder_layers=1, num_heads=3,
        relative_attention_num_buckets=8, relative_attention_max_distance=12, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, pad_token_id=0, decoder_start_token_id=0, eos_token_id=1,
    )  # fmt: skip
    peer = t.T5ForConditionalGeneration(c).double().eval()
    randomise(peer, seed)
    ours, _ = from_module(peer)
    if scaled:
        for mixer in (m for m in ours.modules() if isinstance(m, Mixer)):
            mixer.scale = c.d_kv**-0.5
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([19, 7, 1])
    source, x = torch.randint(2, 40, (3, 19), generator=rng), torch.randint(2, 40, (3, 14), generator=rng)
    seen = (torch.arange(19)[None] < sizes[:, None]).long()
    with torch.no_grad():
        return ours(x, source=source, source_lengths=sizes), peer(source, seen, x).logits


def spans(
    seed: int, length: int = 400, mean: float = 20.0, backwards: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """A text cut by the objective and put together again, the share that was cut out and the mean length of its spans;
    and the text, with what was asked for. `backwards` puts the spans in from the last to the first."""
    made: Any = config("objectives", {"use": "span_corruption", "sentinel": 500, "span": mean}).build()
    assert isinstance(made, SpanCorruption)
    rng = torch.Generator().manual_seed(seed)
    text = torch.randint(0, 256, (length,), generator=rng)
    source, answer = (side.tolist() for side in made.split(text, rng))
    told: dict[int, list[int]] = {}
    for i in answer:
        if i > 255:
            told[i] = []
        else:
            told[next(reversed(told))].append(i)
    marks = dict(zip(told, reversed(told) if backwards else told, strict=True))
    whole = [i for j in source for i in (told[marks[j]] if j > 255 else [j])]
    cut = sum(map(len, told.values()))
    asked = torch.tensor([0.15, mean], dtype=torch.float64)
    return [torch.tensor(whole), torch.tensor([cut / length, cut / len(told)], dtype=torch.float64)], [text, asked]


def work(seed: int, model: Mapping[str, Any], tokens: str = "bytes", layers: int = 3) -> float:
    """Operations for a word of mean length with so many encoder layers, over those of a BPE with two."""
    return _operations(model, tokens, layers) / _operations(model, "bpe", 2)


def _operations(model: Mapping[str, Any], tokens: str, layers: int) -> int:
    task = registry.task({"use": "sounds", "tokens": tokens})
    tree = spec_of(model, Change(), task.ends())
    tree["encoder"] = {**tree["encoder"], "schedule": [{**tree["encoder"]["schedule"][0], "repeat": layers}]}
    net, c = build(tree, seed=0).eval(), task.config
    size = round(float(sounds.lengths(c.vocab if tokens == "bpe" else 0, c.longest).mean()))
    said = sounds.dictionary(c.longest)[1][1]
    x, source = (torch.zeros(1, n, dtype=torch.int64) for n in (round(sum(map(len, said)) / len(said)) + 1, size))
    return cost.trace(lambda a, b: net.run(a, source=b).out, x, source).flops
