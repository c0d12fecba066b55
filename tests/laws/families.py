"""How each family is fed, and what it declares about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from panformer.core.layout import Layout
from panformer.core.part import Part, config, find, known
from panformer.core.score import Causal, Given, Same, Sum
from panformer.core.shared import Shared
from panformer.ops.attend import attend, merge_heads, split_heads
from panformer.ops.weigh import weigh

from .subject import WIDTH, Subject, gather, layout, scatter


class Mixers(Subject):
    def reach(self, module):
        return "past" if module.causal else "all"

    def piecewise(self, module):
        return False


class Norms(Subject):
    def call(self, module, x, at, shared):
        return module(x, at)

    def chunk(self, module, x, at, state, shared):
        return module.chunk(x, at, state)

    step = chunk

    def reach(self, module):
        return "alone" if module.pointwise else "past" if module.streams else "all"


class Residuals(Subject):
    def dims(self):
        return (WIDTH, config("norms", "layer" if "layer" in known("norms") else known("norms")[0]), 2)

    def call(self, module, x, at, shared):
        rng = torch.Generator().manual_seed(4)
        maps = [torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64).to(x.dtype) / 4 for _ in range(2)]
        branches: list[Callable[[Tensor], Tensor]] = [lambda h, w=w: torch.tanh(h @ w) for w in maps]
        return module(x, at, branches)


class Positions(Subject):
    """Added vectors and rotations act on tokens; a score term weighs a sum over the tokens of the same sequence."""

    heads = 2

    def dims(self):
        if self.part.kind == "add":
            return 1, WIDTH
        return (self.heads, WIDTH // self.heads, *(WIDTH,) * (self.part.kind == "context"))

    def call(self, module, x, at, shared):
        return self._apply(module, x, at, x, at)

    def piece(self, module, x, at, a, b):
        return self._apply(module, x[:, a:b], at.span(a, b), x, at)

    def reach(self, module):
        return None if module.kind in ("bias", "context", "factor") else "alone"

    def piecewise(self, module):
        return not self.lattice and module.kind != "context"

    def _apply(self, module: Any, x: Tensor, at: Layout, keys: Tensor, keys_at: Layout) -> Tensor:
        if module.kind == "add":
            return module.add(x, at)
        h = module.value(module.rotate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2), at), at)
        score = module.bias()
        if module.kind == "context":
            tokens = at.clean(x)
            q = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            value = module.context(q, q, module.marks(tokens, at), at, at)
            score = score if value is None else Given(value)
        if module.kind == "factor":
            score = Sum(tuple(s for s in (score, module.factor()) if s is not None))
        if score is not None:
            same = (at.seg[:, None, :, None] == keys_at.seg[:, None, None, :]) & at.valid[:, None, :, None]
            weight = score.value(at, keys_at).to(x.dtype).clamp(min=-8).masked_fill(~same, 0)
            h = weight @ keys_at.clean(keys).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return h.transpose(1, 2).flatten(2)


class Features(Subject):
    """Feature maps: phi of a query and phi of a key that are the same vector, side by side."""

    heads = 2

    def dims(self):
        return (self.heads, WIDTH // self.heads)

    def call(self, module, x, at, shared):
        h = at.clean(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return torch.cat([y.transpose(1, 2).flatten(2) for y in module(h, h)], -1)

    def reach(self, module):
        return "alone"


class Normalisers(Subject):
    """Weights of scores: of tokens by their products, and a sum over the tokens of the same sequence."""

    heads = 2

    def dims(self):
        return (self.heads,)

    def call(self, module, x, at, shared):
        h = split_heads(at.clean(x), self.heads)
        return merge_heads(weigh(h, h, h, Same(), at, at, 1.0, module))

    def reach(self, module):
        return "all"

    def piecewise(self, module):
        return False


class Patterns(Subject):
    """What attention under a pattern gathers, with tokens that are queries, keys and values at once."""

    heads = 4

    def dims(self):
        return (self.heads,)

    def call(self, module, x, at, shared):
        h = split_heads(at.clean(x), self.heads)
        return merge_heads(attend(h, h, h, (Same() & Causal()) + module.score, at, at, 1.0))

    def reach(self, module):
        return "past"

    def piecewise(self, module):
        return False


class Resized(Subject):
    """Embeds and reducers: the result has a layout of its own, with as many sequences as the input."""

    def results(self, y, form, lengths):
        x, at = y
        assert at.sequences == len(lengths), f"{at.sequences} sequences come out of {len(lengths)}"
        return [x[at.ordinal == i] for i in range(at.sequences)]


WHOLE = {"image": lambda c: (c, 8, 6), "video": lambda c: (4, c, 8, 6)}  # inputs without lengths: shape by channels


class Embeds(Resized):
    longest = 23  # what the example options of embeds with a fixed size can read

    def __init__(self, part, options):
        super().__init__(part, options)
        if part.reads in WHOLE:
            self.forms = ()

    def layout(self, form, lengths):
        return None if self.part.reads in WHOLE else layout(form, lengths)

    def sequences(self, lengths, seed=2):
        rng, c = torch.Generator().manual_seed(seed), self.config()
        if self.part.reads == "tokens":
            return [torch.randint(getattr(c, "vocab", 256), (t,), generator=rng) for t in lengths]
        channels = getattr(c, "channels", 2)
        shapes = [WHOLE.get(self.part.reads, lambda c, t=t: (t, c))(channels) for t in lengths]
        # All values round to 1, so that a column of category ids holds one that is known.
        return [0.6 + 0.8 * torch.rand(*shape, generator=rng, dtype=torch.float64) for shape in shapes]

    def call(self, module, x, at, shared):
        return module(x, at)

    def piece(self, module, x, at, a, b):
        return module(x[:, a:b], at.span(a, b))[0]

    def reach(self, module):
        return "alone" if self.part.reads == "values" and not self.couples(module) else None

    def piecewise(self, module):
        return self.part.reads not in WHOLE and not self.couples(module)


class Heads(Subject):
    """Heads answer per token or per sequence."""

    def __init__(self, part, options):
        super().__init__(part, options)
        c = self.config()
        fixed = getattr(c, "tokens", None) or (5 if getattr(c, "pool", None) == "token" else None)
        self.fixed: int | None = fixed  # tokens that every sequence must have
        self.length = fixed or self.length

    def sequences(self, lengths, seed=2):
        return super().sequences([self.fixed or t for t in lengths], seed)

    def call(self, module, x, at, shared):
        if not module.ties:
            return module(x, at)
        rng, size = torch.Generator().manual_seed(4), (self.config().vocab, WIDTH)
        return module(x, at, torch.randn(size, generator=rng, dtype=torch.float64).to(x.dtype))

    def results(self, y, form, lengths):
        return list(y) if self.pools else scatter(form, y, lengths)

    @cached_property
    def pools(self) -> bool:
        """Whether there is one answer per sequence, seen from two sequences in one row."""
        lengths = [self.fixed or t for t in (3, 4)]
        x = gather("packed", self.sequences(lengths), 0.0)
        found = len(self.call(self.build(), x, Layout.packed(lengths), Shared())) == 2
        assert found == self.part.pools, f"{self.part.use()} declares pools = {self.part.pools}, but it is {found}"
        return found

    def reach(self, module):
        return None if self.pools else "alone"


class Objectives(Subject):
    """Objectives take no part in a batch of sequences; the law `asks` is theirs."""

    forms = ()

    def reach(self, module):
        return None

    def dims(self):
        return ()


class Depths(Subject):
    """What a layer reads, with layers that work on each token alone."""

    layers = 4

    def dims(self):
        return (WIDTH, self.layers)

    def call(self, module, x, at, shared):
        rng = torch.Generator().manual_seed(4)
        history = [at.clean(x)]
        for _ in range(self.layers):
            w = torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64).to(x.dtype) / 4
            history.append(torch.tanh((x := at.clean(x)) @ w))
            x = module(history)
        return x


class Linears(Subject):
    """Maps that models are trained with, on tokens without padding; stand-ins for trained ones have tests of their own."""

    def dims(self):
        return (WIDTH, WIDTH, True)

    def call(self, module, x, at, shared):
        return module(at.clean(x))


class Reducers(Resized):
    def dims(self):
        return (WIDTH, WIDTH)

    def call(self, module, x, at, shared):
        return module(x, at)

    def reach(self, module):
        return None


FAMILIES: dict[str, type[Subject]] = {
    "mixers": Mixers,
    "channels": Subject,
    "norms": Norms,
    "residuals": Residuals,
    "positions": Positions,
    "embeds": Embeds,
    "heads": Heads,
    "reducers": Reducers,
    "objectives": Objectives,
    "features": Features,
    "normalisers": Normalisers,
    "patterns": Patterns,
    "linears": Linears,
    "depths": Depths,
}


def subject(part: type[Part], options: dict[str, Any]) -> Subject:
    return FAMILIES[part.family](part, options)


def every() -> Iterator[tuple[type[Part], dict[str, Any]]]:
    """All parts in the folders, with all their example options."""
    for family in FAMILIES:
        for use in known(family):
            part = find(family, use)
            if family == "linears" and not part.learns:
                continue
            for options in part.examples:
                yield part, options
