"""A table as data, so that a Markdown page and an atlas page print the same cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Slug(str):
    """A cell that names a paper, which each printer links in its own way."""


class Table(NamedTuple):
    """Cells are text, or numbers that were put into words already."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def markdown(self, paper: str = "{slug}") -> Iterator[str]:
        """Lines of Markdown without the title; `paper` says how a slug is linked."""
        yield f"| {' | '.join(self.heads)} |"
        yield "|" + "---|" * len(self.heads)
        for row in self.rows:
            cells = [paper.format(slug=c) if isinstance(c, Slug) else str(c) for c in row]
            yield f"| {' | '.join(cells)} |"
