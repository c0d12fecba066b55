"""The plain language model that a Transformer has to beat: interpolated counts of token sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """Contexts of one length: sorted keys, and for each the words seen after it, `start[i] : start[i + 1]`."""

    keys: np.ndarray  # (G,) int64
    start: np.ndarray  # (G + 1,) int64
    words: np.ndarray  # (P,) int32
    counts: np.ndarray  # (P,) int32


class NGram:
    """P(w | h) = (c(h w) + N(h) P(w | shorter h)) / (c(h) + N(h)), N(h) the number of different words seen after h.

    The shortest context is none, below it all words are equally likely. Witten and Bell 1991; interpolation
    as in Chen and Goodman 1998. A context never reaches over the start of its window.
    """

    def __init__(self, vocab: int, levels: Sequence[Level]) -> None:
        self.vocab, self.levels = vocab, tuple(levels)

    @property
    def order(self) -> int:
        """Longest sequence counted: the word and its context."""
        return len(self.levels)

    def cut(self, order: int) -> NGram:
        """The same counts with shorter contexts."""
        return NGram(self.vocab, self.levels[:order])

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T) ids -> (B, T, V) log-probabilities of the next id."""
        return torch.from_numpy(np.stack([np.log(self.next(row)) for row in x.numpy()])).float()

    def next(self, ids: np.ndarray) -> np.ndarray:
        """(T,) -> (T, V) probabilities of what follows each position."""
        p = np.full((len(ids), self.vocab), 1 / self.vocab)
        for n, level in enumerate(self.levels):
            rows, at = _find(level, ids, n, self.vocab)
            first, kinds = level.start[at], level.start[at + 1] - level.start[at]
            pairs = np.repeat(first - np.cumsum(kinds) + kinds, kinds) + np.arange(kinds.sum())
            owner = np.repeat(np.arange(len(rows)), kinds)
            total = np.bincount(owner, level.counts[pairs], len(rows)) + kinds
            share = np.ones(len(ids))
            share[rows] = kinds / total
            p *= share[:, None]
            p.reshape(-1)[rows[owner] * self.vocab + level.words[pairs]] += level.counts[pairs] / total[owner]
        return p

    def nats(self, ids: np.ndarray) -> np.ndarray:
        """(T,) -> (order,) the sum of -log P(next) over the text, for each order up to this one."""
        p, found = np.full(len(ids) - 1, 1 / self.vocab), []
        for n, level in enumerate(self.levels):
            rows, at = _find(level, ids[:-1], n, self.vocab)
            kinds = level.start[at + 1] - level.start[at]
            total = np.add.reduceat(level.counts, level.start[:-1])[at] + kinds
            pairs = np.repeat(np.arange(len(level.keys)), np.diff(level.start)) * self.vocab + level.words
            asked = at * self.vocab + ids[1:][rows]
            where = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
            seen = np.where(pairs[where] == asked, level.counts[where], 0)
            p[rows] = (seen + kinds * p[rows]) / total
            found.append(-np.log(p).sum())
        return np.array(found)


def _find(level: Level, ids: np.ndarray, n: int, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """(positions whose n last ids are a known context, which context)."""
    keys = _contexts(ids, n, vocab)  # of positions n-1 .. T-1; with n = 0 of all
    at = np.searchsorted(level.keys, keys)
    at[at == len(level.keys)] = 0
    found = level.keys[at] == keys
    return np.arange(len(ids) - len(keys), len(ids))[found], at[found]


def fit_ngram(documents: Sequence[Tensor], vocab: int, order: int) -> NGram:
    """Counts of every sequence of up to `order` ids inside the documents, as far as keys fit 64 bits."""
    order = min(order, int(63 * math.log(2) / math.log(vocab)))
    texts = [d.numpy() for d in documents]
    return NGram(vocab, [_count(texts, n, vocab) for n in range(order)])


def _count(texts: Sequence[np.ndarray], n: int, vocab: int) -> Level:
    """Contexts of n ids with what follows them."""
    keys = np.concatenate([_contexts(t[:-1], n, vocab) if n else np.zeros(len(t), np.int64) for t in texts])
    words = np.concatenate([t[n:] for t in texts])
    order = np.lexsort((words, keys))
    keys, words = keys[order], words[order]
    new = np.ones(len(keys), bool)
    new[1:] = (keys[1:] != keys[:-1]) | (words[1:] != words[:-1])
    at = np.flatnonzero(new)
    counts = np.diff(np.append(at, len(keys)))
    contexts, start = np.unique(keys[at], return_index=True)
    return Level(contexts, np.append(start, len(at)), words[at].astype(np.int32), counts.astype(np.int32))


def _contexts(ids: np.ndarray, n: int, vocab: int) -> np.ndarray:
    """Keys of every stretch of n ids; with n = 0 one zero per position."""
    count = len(ids) - max(n, 1) + 1
    keys = np.zeros(max(count, 0), np.int64)
    for i in range(n):
        keys = keys * vocab + ids[i : i + count] if count > 0 else keys
    return keys
