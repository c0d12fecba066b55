"""What positions promise. B rows, T tokens, S keys, D width, H heads."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from .layout import Layout
from .part import Part
from .score import Score


class Position(Part):
    """Says where tokens sit. Built with (config, heads, size): size is the head width, or the model width
    with one head for added vectors; one of kind "context" also with the width of what its layer reads.

    `kind` names the hook a part fills: "add" (vectors at the input), "rotate" (queries and keys),
    "bias" (a score term), "context" (a score term that depends on the tokens themselves), "factor" (what multiplies the
    weights after the softmax), "group" (what moves queries, keys and values, and the answer back) or "none".
    """

    family = "positions"
    kind: ClassVar[str]
    lattice: ClassVar[bool] = False  # whether it needs Layout.grid
    common: ClassVar[bool] = True  # whether layers that inherit it from the model learn one together

    def add(self, x: Tensor, at: Layout) -> Tensor:
        """(B, T, D) with position vectors added."""
        return x

    def rotate(self, x: Tensor, at: Layout) -> Tensor:
        """Queries or keys (B, H, T, size), turned by their position."""
        return x

    def query(self, x: Tensor, at: Layout) -> Tensor:
        """Queries (B, H, T, size), moved by their position."""
        return self.rotate(x, at)

    def key(self, x: Tensor, at: Layout) -> Tensor:
        """Keys (B, G, T, size), moved by their position."""
        return self.rotate(x, at)

    def value(self, x: Tensor, at: Layout) -> Tensor:
        """Values (B, G, T, size), moved by their position."""
        return x

    def back(self, x: Tensor, at: Layout) -> Tensor:
        """What queries found in moved values (B, H, T, size), brought back to the place of the query."""
        return x

    def bias(self) -> Score | None:
        """An additive score term, with its parameters as they are now."""
        return None

    def factor(self) -> Score | None:
        """What multiplies the weights of values after the softmax, with its parameters as they are now."""
        return None

    def marks(self, x: Tensor, at: Layout) -> Tensor | None:
        """(B, H, T, ...) what `context` needs to know of every token, kept beside its key; x (B, T, D), 0 at padding,
        is what the layer reads."""
        return None

    def context(self, q: Tensor, k: Tensor, marks: Tensor | None, q_at: Layout, k_at: Layout) -> Tensor | None:
        """(B, H, T, S) added to q k' (with its scale, and after its cap), of any value where a key is not visible.

        q (B, H, T, E), scaled; k (B, G, S, E); marks of the keys. The queries are the last of the keys. Where q_at is
        not k_at each row holds one sequence, with padding anywhere. None where there is nothing to add.
        """
        raise NotImplementedError(f"{self.use()} does not look at the tokens")
