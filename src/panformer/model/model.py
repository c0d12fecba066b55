"""A whole model: embed, trunk, head; with an encoder, its memory is what cross mixers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.errors import InputError, check_type
from ..core.families import Embed, Head
from ..core.layout import Batch, Layout, exporting
from ..core.pair import facing
from ..core.shared import Shared
from ..core.spec import Spec
from ..core.state import State
from .linears import replace_linears
from .trunk import Trunk

if TYPE_CHECKING:
    from ..generate.generate import Generated

SHAPES = {
    "tokens": "tokens (B, T)", "values": "values (B, T, C)", "image": "images (B, C, H, W)",
    "video": "videos (B, F, C, H, W)",
}  # fmt: skip
DIMS = {"tokens": (2, 3), "values": (3,), "image": (4,), "video": (5,)}  # tokens (B, T, 2) bring segment types


class Output(NamedTuple):
    out: Tensor  # what the head answers, or the hidden vectors of a model without a head
    at: Layout  # where the hidden vectors sit
    losses: dict[str, Tensor]  # auxiliary losses of this pass, to be added by the training loop
    stats: dict[str, Tensor]  # detached counts for the run report
    hidden: Tensor  # (B, T, D), what the head read


class Memory(NamedTuple):
    """What an encoder has answered already: stands where its `source` would."""

    hidden: Tensor
    at: Layout


Source = Tensor | Batch | Memory


class Stream(NamedTuple):
    """The state of a model that reads its input in pieces."""

    layers: list[State]
    seen: Tensor  # (B,) int64, real tokens read so far


class Model(nn.Module):
    """Called on tokens (B, T), values (B, T, C), images (B, C, H, W), videos (B, F, C, H, W) or a `Batch` from `pack`
    or `pad`.
    """

    def __init__(self, spec: Spec) -> None:
        """From a resolved spec; use `panformer.build`."""
        super().__init__()
        self.spec = spec
        self.travels: dict[str, bytes] = {}  # files that belong to the model: tokenizer, preparation, card
        layers = spec.layers
        self.embed: Embed = spec.embed.build(spec.width)
        self.encoder: Model | None = Model(spec.encoder) if spec.encoder else None
        self.trunk = Trunk(layers, spec.final, spec.depth)
        self.head: Head | None = spec.head.build(layers[-1].width) if spec.head else None
        self._check()
        for stand in spec.linears:
            replace_linears(self, stand)

    def forward(
        self,
        x: Tensor | Batch,
        lengths: Sequence[int] | Tensor | None = None,
        source: Source | None = None,
        source_lengths: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """The head's answer: per sequence (N, ...) or per token (B, T, ...), as the head says.

        `lengths` (B,) marks right-padded rows. `source` is what the encoder of an encoder-decoder reads, in a layout of
        its own: sequence n of the batch sees source n, whichever of both is padded or packed.
        """
        return self.run(x, lengths, source, source_lengths).out

    def run(
        self,
        x: Tensor | Batch,
        lengths: Sequence[int] | Tensor | None = None,
        source: Source | None = None,
        source_lengths: Sequence[int] | Tensor | None = None,
    ) -> Output:
        """`forward` with the layout, the auxiliary losses and the stats of the pass."""
        batch = self._whole(x, lengths)
        shared = self._shared(source, source_lengths, batch.x.shape[0])
        h, at = self.embed(batch.x, batch.at)
        h, at = self.trunk(h, at, shared)
        out = self.answer(h, at)
        if self.head is not None and self.head.in_units:
            out = self.embed.undo(out, batch.x, batch.at)
        return Output(out, at, shared.losses, shared.stats, h)

    def hidden(self, x: Tensor | Batch, lengths: Sequence[int] | Tensor | None = None) -> tuple[Tensor, Layout]:
        """The last hidden vectors (B, T, D) and where they sit, without the head."""
        batch = self._whole(x, lengths)
        h, at = self.embed(batch.x, batch.at)
        return self.trunk(h, at, Shared())

    # ---- reading in pieces

    def start(
        self,
        batch: int,
        source: Source | None = None,
        source_lengths: Sequence[int] | Tensor | None = None,
    ) -> tuple[Stream, Shared]:
        """(empty stream, side channel) for `batch` rows; both go into every `chunk`."""
        if not hasattr(batch, "__index__") or (not exporting() and batch < 0):
            raise InputError(f"start: batch is a whole number from 0 on, got {batch!r}")
        like = next(self.parameters())
        stream = Stream(self.trunk.start(batch, like), torch.zeros(batch, dtype=torch.int64, device=like.device))
        return stream, self._shared(source, source_lengths, batch)

    def chunk(
        self, x: Tensor | Batch, stream: tuple[Stream, Shared], lengths: Sequence[int] | Tensor | None = None
    ) -> tuple[Tensor, tuple[Stream, Shared]]:
        """The answers to the next tokens (B, C) or values (B, C, F) of every row; rows may be ragged."""
        h, at, stream = self.read(x, stream, lengths)
        return self.answer(h, at), stream

    def last(
        self, x: Tensor, stream: tuple[Stream, Shared], lengths: Sequence[int] | Tensor | None = None
    ) -> tuple[Tensor, tuple[Stream, Shared]]:
        """`chunk` where only the answer at the last token of every row is wanted (B, ...): the head runs once a row."""
        h, _, stream = self.read(x, stream, lengths)
        if lengths is None:
            h = h[:, -1:]
        else:
            end = torch.as_tensor(lengths, device=h.device) - 1
            h = h[torch.arange(len(h), device=h.device), end][:, None]
        return self.answer(h, Layout.dense(len(h), 1, device=h.device))[:, 0], stream

    def read(
        self, x: Tensor | Batch, stream: tuple[Stream, Shared], lengths: Sequence[int] | Tensor | None = None
    ) -> tuple[Tensor, Layout, tuple[Stream, Shared]]:
        """`chunk` without the head: (hidden vectors of the next tokens, where they sit, the stream after them)."""
        state, shared = stream
        x, given = self._batch(x, lengths)
        if not exporting():
            self._follows(x, given, state)
        here = given or Layout.dense(x.shape[0], x.shape[1], device=x.device)
        at = Layout(here.seg.expand(here.pos.shape[:2]), here.pos + state.seen[:, None, None], full=here.full)
        h, at = self.embed(x, at)
        h, layers = self.trunk.chunk(h, at, state.layers, Shared(shared.lent))
        return h, at, (Stream(layers, state.seen + at.valid.expand(at.pos.shape[:2]).sum(1)), shared)

    def answer(self, h: Tensor, at: Layout) -> Tensor:
        """What the head answers to hidden vectors (B, T, D), or these where there is no head."""
        return h if self.head is None else self.head(h, at, self._table())

    def generate(
        self,
        prompts: Any,
        *,
        tokens: int = 64,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        beams: int = 1,
        length_penalty: float = 1.0,
        stop: Sequence[int] = (),
        seed: int | Sequence[int] | None = None,
        until: Callable[[int, int], Any] | None = None,
        lengths: Sequence[int] | Tensor | None = None,
        side: str = "right",
        source: Any = None,
        source_lengths: Sequence[int] | Tensor | None = None,
    ) -> list[Generated]:
        """New tokens after each prompt: `panformer.generate.generate` says what the options mean."""
        from ..generate.generate import generate

        return generate(
            self, prompts, tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            repetition_penalty=repetition_penalty, beams=beams, length_penalty=length_penalty, stop=stop, seed=seed,
            until=until, lengths=lengths, side=side, source=source, source_lengths=source_lengths,
        )  # fmt: skip

    def why_no_stream(self) -> str | None:
        """The reason this model cannot read in pieces, or None."""
        if self.embed.reads in ("image", "video"):
            return f"it reads {self.embed.reads}s, and each comes whole"
        return self.trunk.why_no_stream()

    def dummy(self, length: int, batch: int = 1) -> tuple[Any, ...]:
        """Arguments of a call on zeros of about `length` tokens, to trace shapes and costs with."""
        x = self.embed.dummy(batch, length)
        return (x,) if self.encoder is None else (x, None, *self.encoder.dummy(length, batch))

    # ----

    def _batch(self, x: Tensor | Batch, lengths: Sequence[int] | Tensor | None) -> Batch:
        x, at = x if isinstance(x, Batch) else (x, None)
        reads = self.embed.reads
        if not isinstance(x, Tensor):
            raise InputError(f"this model reads {SHAPES[reads]} or what pack and pad make, got a {type(x).__name__}")
        if x.dim() not in DIMS[reads] or (reads == "tokens" and x.dim() == 3 and x.shape[-1] != 2):
            raise InputError(f"this model reads {SHAPES[reads]}, got a tensor of shape {tuple(x.shape)}")
        if 0 in x.shape:
            raise InputError(f"empty input of shape {tuple(x.shape)}")
        if (reads == "tokens") == x.is_floating_point():
            raise InputError(f"this model reads {SHAPES[reads]}, got dtype {x.dtype}")
        self._fits(x)
        if at is not None:
            check_type("the layout of a batch", at, Layout)
            if reads != "image" and not exporting() and (at.batch, at.length) != x.shape[:2]:
                raise InputError(
                    f"a layout of {at.batch} x {at.length} tokens does not fit x of shape {tuple(x.shape)}"
                )
        if lengths is None:
            return Batch(x, at)
        if at is not None:
            raise InputError("a packed or padded batch brings its own lengths; give one of the two")
        count = lengths.shape[0] if isinstance(lengths, Tensor) else len(lengths)
        if count != x.shape[0]:
            raise InputError(f"{count} lengths for a batch of {x.shape[0]} rows")
        return Batch(x, Layout.padded(lengths, x.shape[1]).to(x.device))

    def _whole(self, x: Tensor | Batch, lengths: Sequence[int] | Tensor | None) -> Batch:
        """`_batch` where all tokens come at once: then there must be one."""
        batch = self._batch(x, lengths)
        at = batch.at
        known = at is None or at.full or at.padless or at.single or exporting()
        if at is not None and not known and not bool(at.valid.any()):
            raise InputError("a batch without a token: all of it is padding")
        return batch

    def _follows(self, x: Tensor, at: Layout | None, state: Stream) -> None:
        """Refuse what cannot be the next tokens of the rows that a stream has read."""
        have, rows = state.seen.shape[0], x.shape[0]
        if rows != have:
            raise InputError(f"the stream has {have} rows, the input {rows}")
        if at is not None and not (at.full or at.single) and at.crowded:
            raise InputError("a stream reads one sequence a row, and a row of this batch has several; pad them instead")

    def _fits(self, x: Tensor) -> None:
        """Refuse values that lie elsewhere or in another number format than the weights that read them."""
        own = next(self.embed.parameters(), None)
        if own is None:
            return
        if x.device != own.device:
            raise InputError(f"the model is on {own.device}, the input on {x.device}; move one with .to(...)")
        if x.is_floating_point() and x.dtype != own.dtype and not torch.is_autocast_enabled(x.device.type):
            raise InputError(f"the model computes in {own.dtype}, the input is in {x.dtype}; convert one with .to(...)")

    def _shared(self, source: Source | None, lengths: Sequence[int] | Tensor | None, rows: int) -> Shared:
        """The side channel of a pass over so many rows: the encoder's memory, and what it was charged."""
        if self.encoder is None:
            if source is not None:
                raise InputError("a `source` was given to a model without an encoder, which does not read it")
            return Shared()
        if source is None:
            raise InputError("an encoder-decoder reads `source`, and none was given")
        if isinstance(source, Memory):
            return Shared({"memory": facing(*source, rows)})
        run = self.encoder.run(source, lengths)
        return Shared({"memory": facing(run.out, run.at, rows)}, {}, dict(run.losses), dict(run.stats))

    def _table(self) -> Tensor | None:
        """The embedding table, for a head that shares it."""
        table: Any = self.embed.table if self.head is not None and self.head.ties else None
        return None if table is None else table.weight

    def _check(self) -> None:
        given = {"memory"} if self.encoder is not None else set()
        for i, layer in enumerate(self.trunk.each()):
            for mixer in [m for m in (layer.mixer, layer.cross) if m is not None]:
                missing = set(mixer.needs) - given
                if missing:
                    raise InputError(
                        f"layer {i}: mixer {mixer.use()} needs {sorted(missing)}; give the spec an encoder"
                    )
        if self.head is not None and self.head.ties and not hasattr(self.embed, "table"):
            raise InputError(f"head {self.head.use()!r} shares the token table, embed {self.embed.use()!r} has none")
