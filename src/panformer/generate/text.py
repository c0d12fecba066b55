"""From texts to texts: a model with its tokenizer and its marks, opened from a model folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import InputError
from ..data.prepare import Text, load_prepare
from ..model import io
from ..model.model import Model
from . import rows
from .chat import render
from .generate import answers, stream
from .how import How
from .marks import FILE, Marks, marks
from .sample import Ended
from .tokenizer import Bytes, Pieces, Tokenizer
from .until import Until

PREPARATION = "preparation.json"
GREEDY = How()


class Piece(NamedTuple):
    row: int  # which prompt it follows
    text: str
    ended: Ended | None = None  # said once for every row, with its last piece
    tokens: int = 0  # with the last piece: how many tokens the row took, a stop id left out


@dataclass(frozen=True)
class Writer:
    """A model that goes on from texts."""

    model: Model
    tokenizer: Tokenizer | Bytes
    marks: Marks

    def write(
        self, prompts: Sequence[str], how: How = GREEDY, stop: Sequence[str] = (), chat: bool = False
    ) -> list[tuple[str, Ended]]:
        """(what follows, why it ended) for each prompt: the pieces of `stream`, joined."""
        texts: list[list[str]] = [[] for _ in prompts]
        why: dict[int, Ended] = {}
        for piece in self.stream(prompts, how, stop, chat):
            texts[piece.row].append(piece.text)
            if piece.ended is not None:
                why[piece.row] = piece.ended
        return [("".join(found), why[i]) for i, found in enumerate(texts)]

    def stream(
        self, prompts: Sequence[str], how: How = GREEDY, stop: Sequence[str] = (), chat: bool = False
    ) -> Iterator[Piece]:
        """Pieces of text as they come; no piece holds half a character, none goes past a stop string.

        With `chat` each prompt is what a user says, and the model answers. An encoder-decoder reads the prompts as
        its source. A beam search has one piece for each row. Errors: InputError.
        """
        given: list[list[int]] = self._ids(prompts, chat)
        source: list[list[int]] | None = None
        if self.model.encoder is not None:
            start = self.marks.start or ((self.marks.pad,) if self.marks.pad is not None else ())
            if not start:
                raise InputError(f"{FILE}: an encoder-decoder needs `start`, the id its decoder begins with")
            source, given = given, [list(start)] * len(given)
        how = replace(how, stop=(*how.stop, *self.marks.eos))
        if how.beams > 1:
            if stop:
                raise InputError("stop: beam search knows no text before its end; leave beams at 1")
            return self._found(given, source, how)
        return self._pieces(given, source, how, [_Row(self.tokenizer.pieces(), Until(stop)) for _ in given])

    def _ids(self, prompts: Sequence[str], chat: bool) -> list[list[int]]:
        for i, prompt in enumerate(prompts, 1):
            if not prompt:
                raise InputError(f"prompt {i} of {len(prompts)}: is empty; there is nothing to go on from")
            if any("\ud800" <= c <= "\udfff" for c in prompt):
                raise InputError(f"prompt {i} of {len(prompts)}: is not UTF-8 text")
        if not chat:
            return [self.tokenizer.encode(p) for p in prompts]
        if self.marks.chat_template is None:
            raise InputError("this model brings no chat template; give plain prompts")
        bos, eos = (self.tokenizer.word(i) for i in (self.marks.bos, next(iter(self.marks.eos), None)))
        said = [[{"role": "user", "content": p}] for p in prompts]
        return [self.tokenizer.encode(render(self.marks.chat_template, m, bos, eos), marked=False) for m in said]

    def _pieces(
        self, given: list[list[int]], source: list[list[int]] | None, how: How, texts: list[_Row]
    ) -> Iterator[Piece]:
        stop = frozenset(how.stop)
        how = replace(how, until=lambda row, token: texts[row].push(token, stop))
        return (texts[t.row].piece(t.row, t.ended) for t in stream(self.model, given, how, source=source))

    def _found(self, given: list[list[int]], source: list[list[int]] | None, how: How) -> Iterator[Piece]:
        for row, found in enumerate(answers(self.model, given, how, source=source)):
            ids = found.ids.tolist()
            yield Piece(row, self.tokenizer.decode(ids), found.ended, len(ids))


class _Row:
    """The text of one row on its way out."""

    def __init__(self, pieces: Pieces, until: Until) -> None:
        self.pieces, self.until = pieces, until
        self.tokens = 0
        self.ready = ""

    def push(self, token: int, stop: frozenset[int]) -> bool:
        """Take a new token; whether it completes a stop string."""
        if token not in stop:
            self.tokens += 1
            self.ready = self.until.push(self.pieces.push(token))
        return self.until.done

    def piece(self, row: int, ended: Ended | None) -> Piece:
        """What the last token brought, and with the end what was held back."""
        text, self.ready = self.ready, ""
        if ended is None:
            return Piece(row, text)
        text += self.until.push(self.pieces.finish())
        return Piece(row, text + self.until.finish(), "stop" if self.until.done else ended, self.tokens)


def read(folder: str | Path, names: Sequence[str] | None = None) -> Writer:
    """The writer of a model folder: its own tokenizer.json, or the preparation it was trained with, or plain bytes.

    `names` is what `verify` has answered for the folder, where that has been done. Errors: CheckpointError, InputError
    with the file and what is missing.
    """
    folder = Path(folder)
    names = io.verify(folder) if names is None else names
    if "baseline" in io.read_json(folder / "config.json"):
        raise InputError(f"{folder}: holds a baseline, not a language model; `panformer predict` answers with it")
    return around(folder, io.load(folder, names=names), names)


def around(folder: Path, model: Model, names: Sequence[str]) -> Writer:
    """The writer of a folder whose model has been loaded; `names` and errors as for `read`."""
    try:
        rows.check(model)
    except InputError as fault:
        raise InputError(f"{folder}: {fault}") from None
    told = marks(io.read_json(folder / FILE), str(folder / FILE)) if FILE in names else Marks()
    if "tokenizer.json" in names:
        where = str(folder / "tokenizer.json")
        return _fitting(folder, model, Tokenizer(model.travels["tokenizer.json"], where, _specials(told)), told)
    if PREPARATION in names:
        return _prepared(folder, model, told)
    if model.embed.use() == "bytes":
        return Writer(model, Bytes(), told)
    raise InputError(f"{folder}: has no tokenizer.json, and its embed {model.embed.use()!r} does not read bytes")


def _specials(told: Marks) -> list[int]:
    return [i for i in (*told.eos, told.pad, told.bos) if i is not None]


def _prepared(folder: Path, model: Model, told: Marks) -> Writer:
    """With the tokens that choose or train fitted; their end mark ends a text."""
    prepare = load_prepare(io.read_json(folder / PREPARATION).get("prepare"))
    given = prepare.input
    if not isinstance(given, Text):
        raise InputError(f"{folder}: was trained on {given.kind}, not on text")
    end = given.vocab - 2
    told = told.model_copy(update={"eos": (*told.eos, end)})
    words = Tokenizer(given.bpe, str(folder / PREPARATION), [end, end + 1]) if given.bpe else Bytes()
    return _fitting(folder, model, words, told)


def _fitting(folder: Path, model: Model, tokenizer: Tokenizer | Bytes, told: Marks) -> Writer:
    table: Any = getattr(model.embed, "table", None)
    if isinstance(tokenizer, Tokenizer) and table is not None and tokenizer.size > table.num_embeddings:
        raise InputError(f"{folder}: the tokenizer has {tokenizer.size} ids, the model {table.num_embeddings}")
    return Writer(model, tokenizer, told)
