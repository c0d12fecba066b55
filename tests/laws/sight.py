"""What an output may depend on: which tokens, which sequences, which rows, never padding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import Part
from panformer.core.shared import Shared
from panformer.measure.matrix import view
from panformer.ops import backend

from .families import subject
from .judge import LENGTHS, LONG, Options, alike, grads, joins, law, must, opened, runs, same, weighted
from .subject import Subject, gather


@law(lambda s, m: s.reach(m) is not None)
def causal(part: type[Part], options: Options) -> None:
    """The gradient into tokens that must not matter is exactly 0, and the declaration says no less than is true."""
    s = subject(part, options)
    m = s.build()
    future, past = _influence(s, m)
    reach = s.reach(m)
    if reach != "all":
        must(future == 0, f"declared {reach}, but an output has gradient {future:.1e} into later tokens")
    else:
        must(future > 0, "declared to look at later tokens, but no output has a gradient into one")
    if reach == "alone":
        must(past == 0, f"declared to work on each token alone, but has gradient {past:.1e} into earlier tokens")
        xs = s.sequences([s.length])
        other = [torch.cat([s.sequences([s.length], seed=9)[0][:-1], xs[0][-1:]])]
        same(s.alone(m, xs)[0][-1], s.alone(m, other)[0][-1], "one token's output when all others change")
    if "memory" in getattr(part, "needs", ()):
        xs = s.sequences([s.length] * 2)
        one, other = s.alone(m, [xs[0], xs[0]])  # the same tokens, two memories
        must(not torch.allclose(one, other), "declared to need memory, but does not read it")


def _influence(s: Subject, m: Any) -> tuple[float, float]:
    """Largest gradient of any output into (later, earlier) tokens."""
    length = s.length
    x = s.sequences([length])[0].requires_grad_()
    y = s.alone(m, [x])[0]
    later, earlier = 0.0, 0.0
    for t in range(length):
        size = grads(weighted([y[t]]), [x])[0].flatten(1).abs().amax(1)
        later = max(later, size[t + 1 :].max().item() if t + 1 < length else 0.0)
        earlier = max(earlier, size[:t].max().item() if t else 0.0)
    return later, earlier


@law(lambda s, m: s.part.family == "mixers" and m.causal and not m.needs)
def pictures(part: type[Part], options: Options) -> None:
    """The matrix that is drawn of a causal mixer is finite and has nothing above its diagonal."""
    s = subject(part, options)
    m = s.build()
    shown = view(m, s.sequences([s.length])[0][:12])
    worst = shown.heads.triu(1).abs().max().item()
    must(worst == 0, f"declared causal, but the {shown.says} is {worst:.1e} for a later token")
    must(bool(shown.heads.isfinite().all()), f"the {shown.says} is not finite")


@law(lambda s, m: joins(s, m) and s.couples(m) != "batch")
def packed(part: type[Part], options: Options) -> None:
    """Sequences in one row are computed as if each were alone, with no gradient across them."""
    s = subject(part, options)
    m = s.build()
    xs = opened(s.sequences(LENGTHS))
    apart = s.alone(m, xs)
    for form in ("packed", "mixed"):
        together = s.run(m, xs, form)
        for i, (a, b) in enumerate(zip(apart, together)):
            same(a, b, f"sequence {i} in a {form} batch and alone")
            if not xs[i].requires_grad:
                continue
            slopes = grads(weighted([b]), xs)
            for j, g in enumerate(slopes):
                if j != i:
                    worst = g.abs().max().item()
                    must(worst == 0, f"sequence {i} of a {form} batch has gradient {worst:.1e} into sequence {j}")
            same(grads(weighted([a]), xs)[i], slopes[i], f"gradient of sequence {i} in a {form} batch and alone")


@law(lambda s, m: runs(s, m) and s.couples(m) != "batch")
def rows(part: type[Part], options: Options) -> None:
    """Rows of a batch are computed as if each were alone, with no gradient across them."""
    s = subject(part, options)
    m = s.build()
    xs = opened(s.sequences([s.length] * 3))
    for i, (a, b) in enumerate(zip(s.alone(m, xs, "rows"), s.run(m, xs, "rows"))):
        same(a, b, f"row {i} in a batch and alone")
        others = [x for j, x in enumerate(xs) if j != i and x.requires_grad]
        worst = max([g.abs().max().item() for g in grads(weighted([b]), others)], default=0.0)
        must(worst == 0, f"row {i} has gradient {worst:.1e} into another row")


@law(lambda s, m: s.part.family == "mixers" and not s.lattice and not s.part.needs)
def lattices(part: type[Part], options: Options) -> None:
    """On a lattice every backend answers like the reference, each image for itself, or refuses like it."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([20] * 2)), Layout.lattice(2, (4, 5))
    try:
        with backend.only("reference"):
            want = s.call(m, x, at, Shared())
    except InputError:
        try:
            s.call(m, x, at, Shared())
        except InputError:
            return
        raise AssertionError("the reference refuses a lattice, but another backend answers") from None
    same(want, s.call(m, x, at, Shared()), "the reference and another backend on a lattice")
    alone = [s.call(m, x[i : i + 1], Layout.lattice(1, (4, 5)), Shared()) for i in range(2)]
    same(want, torch.cat(alone), "images in a batch and alone")


@law(joins)
def padding(part: type[Part], options: Options) -> None:
    """Padding that holds NaN changes no result, no gradient and no auxiliary loss."""
    s = subject(part, options)
    m = s.build()
    xs = opened(s.sequences(LENGTHS))
    inputs = [x for x in xs if x.requires_grad]
    learned = [p for p in m.parameters() if p.requires_grad]
    charged: dict[str, Tensor] = {}
    plain = s.run(m, xs, "packed", charged)
    want = grads(weighted(plain), [*inputs, *learned])
    for form in ("right", "left", "mixed"):
        losses: dict[str, Tensor] = {}
        padded = s.run(m, xs, form, losses)
        alike(plain, padded, f"sequences with {form} padding and without")
        alike(want, grads(weighted(padded), [*inputs, *learned]), f"gradients with {form} padding and without")
        must(losses.keys() == charged.keys(), f"{form} padding changes which losses are charged")
        alike([charged[k] for k in charged], [losses[k] for k in charged], f"losses with {form} padding and without")


@law(lambda s, m: s.piecewise(m))
def spans(part: type[Part], options: Options) -> None:
    """A part that works on each token alone gives for a piece the piece of what it gives for the whole."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
    pieces = [s.piece(m, x, at, a, b) for a, b in ((0, 1), (1, 8), (8, LONG))]
    same(s.piece(m, x, at, 0, LONG), torch.cat(pieces, 1), "pieces and the whole")


@law(lambda s, m: s.couples(m) is not None)
def couples(part: type[Part], options: Options) -> None:
    """A part declared to let tokens disturb each other does so: else it could stream, and says it cannot."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
    pieces = [s.piece(m, x, at, t, t + 1) for t in range(LONG)]
    whole = s.piece(m, x, at, 0, LONG)
    apart = torch.cat(pieces, 1)
    differ = whole.shape != apart.shape or not torch.allclose(whole, apart)
    must(differ, f"declares that it couples tokens of a {s.couples(m)}, but does not")


@law(lambda s, m: s.part.family == "embeds")
def clean(part: type[Part], options: Options) -> None:
    """Hidden padding is zero, and a batch without a layout is one of full sequences."""
    s = subject(part, options)
    m = s.build()
    for form in s.forms:
        xs = s.sequences(LENGTHS)
        x, at = m(gather(form, xs, s.junk(xs[0])), s.layout(form, LENGTHS))
        must(bool((x[~at.valid.expand(x.shape[:2])] == 0).all()), f"hidden padding is not zero in a {form} batch")
    xs = s.sequences([s.length] * 2)
    (x, at), (y, there) = m(torch.stack(xs)), m(torch.stack(xs), s.layout("rows", [s.length] * 2))
    same(x, y, "without a layout and with that of full sequences")
    must(torch.equal(at.pos, there.pos) and at.grid == there.grid, "without a layout: other positions come out")
