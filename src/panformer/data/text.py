"""Plain text: documents to read, and the language task on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InputError
from .base import Dataset, Examples, Task
from .prepare import Ids, Preparation, Text, train_bpe
from .raw import Notes, Options, content, decode, fingerprint, read_bytes
from .split import NAMES, grouped, in_order

SUFFIXES = (
    ".txt", ".text", ".md", ".rst", ".org", ".tex", ".log", ".html", ".xml",
    ".py", ".c", ".h", ".cpp", ".js", ".ts", ".java", ".go", ".rs", ".r", ".jl", ".sh", ".sql",
)  # fmt: skip
LEAST = 200  # bytes of text below which there is nothing to learn from

Document = tuple[str, str]  # where it came from, and its text


def read_text(path: Path) -> str:
    """The text of a file, line ends as \\n."""
    return decode(read_bytes(path), path).replace("\r\n", "\n").replace("\r", "\n")


def language(name: str, documents: Sequence[Document], opt: Options, notes: Notes) -> Dataset:
    """Documents -> next-token prediction; three or more are split by document, fewer by place in the text."""
    opt.refuse(f"{name}: plain text", "horizon", "lookback", "season", "image_size", "target")
    documents = [(source, text) for source, text in documents if text.strip()]
    notes.why.append(f"{len(documents):,} documents of plain text and no target -> language")
    if opt.max_rows is not None and len(documents) > opt.max_rows:
        notes.facts["rows_not_sampled"] = len(documents) - opt.max_rows
        documents = documents[: opt.max_rows]
    total = sum(len(text.encode("utf-8", "surrogatepass")) for _, text in documents)
    if total < LEAST:
        raise InputError(f"{name}: holds {total} bytes of text; a language model needs at least {LEAST}")
    parts, rule = _split(documents, opt, notes)
    given = Text(bpe=train_bpe([text for _, text in parts[0]]) if opt.tokens == "bpe" else "")
    notes.why.append("tokens are a BPE trained on the training text" if given.bpe else "tokens are bytes")
    examples = [Examples([given.encode(t) for _, t in part], None, [source for source, _ in part]) for part in parts]
    sizes = [sum(len(t.encode("utf-8", "surrogatepass")) for _, t in part) for part in parts]
    facts = notes.facts
    facts["modality"] = "text"
    facts["rows"] = {"read": len(documents), "used": len(documents), "refused": len(notes.refused)}
    facts["split"] = {"rule": rule, "seed": opt.seed, **{n: len(p) for n, p in zip(NAMES, parts, strict=True)}}
    facts["bytes"] = dict(zip(NAMES, sizes, strict=True))
    facts["bytes_per_token"] = {
        n: size / sum(len(x) for x in e.inputs) for n, size, e in zip(NAMES, sizes, examples, strict=True)
    }
    facts["why"], facts["warnings"] = notes.why, notes.warnings
    longest = max(len(x) for e in examples for x in e.inputs)
    task = Task("language", "tokens", "bits_per_byte", vocab=given.vocab, max_length=min(longest, opt.max_length))
    mark = fingerprint([content(t) for _, t in documents], opt)
    prepare = Preparation(input=given, output=Ids())
    train, valid, test = examples
    return Dataset(name, task, train, valid, test, prepare, facts, notes.refused, mark)


def _split(documents: Sequence[Document], opt: Options, notes: Notes) -> tuple[list[list[Document]], str]:
    keys = [content(text) for _, text in documents]
    copies = len(keys) - len(set(keys))
    if copies:
        notes.facts["duplicates"] = copies
        notes.warnings.append(f"documents that copy an earlier one: {copies:,}; all copies are kept in one split")
    if len(set(keys)) >= 3:
        split = grouped(keys, None, opt.seed, [len(text) for _, text in documents])
        return [[documents[i] for i in rows] for rows in split], "70/15/15 by document, weighed by length"
    parts: list[list[Document]] = [[], [], []]
    for source, text in dict(zip(keys, documents, strict=True)).values():
        edges = [0, *(_line_end(text, at) for at in in_order(len(text))), len(text)]
        for part, start, end in zip(parts, edges[:-1], edges[1:], strict=True):
            line = text.count("\n", 0, start) + 1
            part.append((f"{source}:{line}", text[start:end]))
    return parts, "70/15/15 by place in the text (fewer than 3 documents), the last part for test"


def _line_end(text: str, at: int) -> int:
    """The end of the line around `at`, where that is near; else `at` itself."""
    end = text.find("\n", at, at + len(text) // 20) + 1
    return end or at
