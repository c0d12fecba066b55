"""What the biases of distance share."""

from __future__ import annotations

from ..core.layout import Layout


def once(q: Layout, k: Layout) -> tuple[Layout, Layout]:
    """The first row of each where all rows sit at the same places, so that a bias is made once for a dense batch."""
    if q.pos.stride(0) or k.pos.stride(0):
        return q, k
    return _first(q), _first(k)


def _first(at: Layout) -> Layout:
    return at.derive("first row", lambda: Layout(at.seg[:1], at.pos[:1], full=at.full))
