"""What every part must obey. A law takes a part class and its options, and raises AssertionError in one line.

The tolerances stand here once: float64 on the CPU, relative to the largest value.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from panformer.core import state as states
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import Part, config, parse
from panformer.core.shared import Shared
from panformer.measure import cost
from panformer.ops import backend

from .subject import Subject, gather, layout, subject

RTOL = 1e-9
GRADCHECK = 1e-6
ROUNDING = 2.0  # a kernel's bfloat16 error may be this many times that of its reference
LENGTHS = (5, 9, 1, 8)
MANY = (40, 50, 30)
LONG = 23  # tokens, more than four windows of the example options
Options = dict[str, Any]
Law = Callable[[type[Part], Options], None]
LAWS: dict[str, tuple[Law, Callable[[Subject, Any], bool]]] = {}


def law(when: Callable[[Subject, Any], bool] = lambda s, m: True) -> Callable[[Law], Law]:
    """Registers a law for the parts it speaks of. Any failure becomes one line: part, options, law, fault."""

    def register(check: Law) -> Law:
        name = check.__name__

        @wraps(check)
        def told(part: type[Part], options: Options) -> None:
            try:
                check(part, options)
            except AssertionError as fault:
                raise AssertionError(f"{subject(part, options).name}: {name}: {fault}") from None
            except Exception as fault:
                line = (" ".join(str(fault).split()) or "no message")[:200]
                raise AssertionError(f"{subject(part, options).name}: {name}: {type(fault).__name__}: {line}") from fault

        LAWS[name] = (told, when)
        return told

    return register


def _streams(s: Subject, m: Any) -> bool:
    return s.part.family == "mixers" and m.causal and m.streams


def _runs(s: Subject, m: Any) -> bool:
    return s.part.family != "objectives"


def _joins(s: Subject, m: Any) -> bool:
    return "packed" in s.forms


# ---- what tokens may see


@law(lambda s, m: s.reach(m) is not None)
def causal(part: type[Part], options: Options) -> None:
    """The gradient into tokens that must not matter is exactly 0, and the declaration says no less than is true."""
    s = subject(part, options)
    m = s.build()
    future, past = _influence(s, m)
    reach = s.reach(m)
    if reach != "all":
        _law(future == 0, f"declared {reach}, but an output has gradient {future:.1e} into later tokens")
    else:
        _law(future > 0, "declared to look at later tokens, but no output has a gradient into one")
    if reach == "alone":
        _law(past == 0, f"declared to work on each token alone, but has gradient {past:.1e} into earlier tokens")
        xs = s.sequences([s.length])
        other = [torch.cat([s.sequences([s.length], seed=9)[0][:-1], xs[0][-1:]])]
        _same(s.alone(m, xs)[0][-1], s.alone(m, other)[0][-1], "one token's output when all others change")
    elif reach == "past":
        _law(past > 0, "declared to look at earlier tokens, but no output has a gradient into one")


def _influence(s: Subject, m: Any) -> tuple[float, float]:
    """Largest gradient of any output into (later, earlier) tokens."""
    length = s.length
    x = s.sequences([length])[0].requires_grad_()
    y = s.alone(m, [x])[0]
    later, earlier = 0.0, 0.0
    for t in range(length):
        size = _grads(_weighted([y[t]]), [x])[0].flatten(1).abs().amax(1)
        later = max(later, size[t + 1 :].max().item() if t + 1 < length else 0.0)
        earlier = max(earlier, size[:t].max().item() if t else 0.0)
    return later, earlier


@law(lambda s, m: _joins(s, m) and s.couples(m) != "batch")
def packed(part: type[Part], options: Options) -> None:
    """Sequences in one row are computed as if each were alone, with no gradient across them."""
    s = subject(part, options)
    m = s.build()
    xs = _open(s.sequences(LENGTHS))
    apart = s.alone(m, xs)
    for form in ("packed", "mixed"):
        together = s.run(m, xs, form)
        for i, (a, b) in enumerate(zip(apart, together)):
            _same(a, b, f"sequence {i} in a {form} batch and alone")
            if not xs[i].requires_grad:
                continue
            grads = _grads(_weighted([b]), xs)
            for j, g in enumerate(grads):
                if j != i:
                    worst = g.abs().max().item()
                    _law(worst == 0, f"sequence {i} of a {form} batch has gradient {worst:.1e} into sequence {j}")
            _same(_grads(_weighted([a]), xs)[i], grads[i], f"gradient of sequence {i} in a {form} batch and alone")


@law(lambda s, m: _runs(s, m) and s.couples(m) != "batch")
def rows(part: type[Part], options: Options) -> None:
    """Rows of a batch are computed as if each were alone, with no gradient across them."""
    s = subject(part, options)
    m = s.build()
    xs = _open(s.sequences([s.length] * 3))
    for i, (a, b) in enumerate(zip(s.alone(m, xs), s.run(m, xs, "rows"))):
        _same(a, b, f"row {i} in a batch and alone")
        others = [x for j, x in enumerate(xs) if j != i and x.requires_grad]
        worst = max([g.abs().max().item() for g in _grads(_weighted([b]), others)], default=0.0)
        _law(worst == 0, f"row {i} has gradient {worst:.1e} into another row")


@law(_joins)
def padding(part: type[Part], options: Options) -> None:
    """Padding that holds NaN changes no result, no gradient and no auxiliary loss."""
    s = subject(part, options)
    m = s.build()
    xs = _open(s.sequences(LENGTHS))
    inputs = [x for x in xs if x.requires_grad]
    learned = [p for p in m.parameters() if p.requires_grad]
    charged: dict[str, Tensor] = {}
    plain = s.run(m, xs, "packed", charged)
    want = _grads(_weighted(plain), [*inputs, *learned])
    for form in ("right", "left", "mixed"):
        losses: dict[str, Tensor] = {}
        padded = s.run(m, xs, form, losses)
        _alike(plain, padded, f"sequences with {form} padding and without")
        _alike(want, _grads(_weighted(padded), [*inputs, *learned]), f"gradients with {form} padding and without")
        _law(losses.keys() == charged.keys(), f"{form} padding changes which losses are charged")
        _alike([charged[k] for k in charged], [losses[k] for k in charged], f"losses with {form} padding and without")


# ---- reading in pieces


@law(_streams)
def chunks(part: type[Part], options: Options) -> None:
    """Any cut of the input into chunks gives what the whole gives, wherever the sequence starts."""
    s = subject(part, options)
    m = s.build()
    x = torch.stack(s.sequences([LONG] * 3))
    for start, sizes in ((0, (LONG,)), (0, (1, 7, 3, 12)), (0, (6, 6, 6, 5)), (40, (9, 14))):
        at, shared = Layout.dense(3, LONG, start), s.shared("rows", [LONG] * 3)
        outs, held, a = [], m.start(3, x), 0
        for size in sizes:
            y, held = m.chunk(x[:, a : a + size], at.span(a, a + size), held, shared)
            outs.append(y)
            a += size
        _same(s.call(m, x, at, shared), torch.cat(outs, 1), f"chunks of {sizes} from position {start} and the whole")


@law(_streams)
def steps(part: type[Part], options: Options) -> None:
    """One token at a time gives what the whole gives."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
    shared = s.shared("rows", [LONG] * 2)
    outs, held = [], m.start(2, x)
    for t in range(LONG):
        y, held = m.step(x[:, t : t + 1], at.span(t, t + 1), held, shared)
        outs.append(y)
    _same(s.call(m, x, at, shared), torch.cat(outs, 1), "steps and the whole")


@law(_streams)
def ragged(part: type[Part], options: Options) -> None:
    """Rows may bring different numbers of tokens to a chunk, none too, with NaN padding on either side."""
    s = subject(part, options)
    m = s.build()
    x, shared = torch.stack(s.sequences([LONG] * 3)), s.shared("rows", [LONG] * 3)
    whole = s.call(m, x, Layout.dense(3, LONG), shared)
    for side in ("right", "left"):
        held, done = m.start(3, x), [0, 0, 0]
        for counts in ((6, 4, 2), (0, 5, 1), (7, 0, 3), (1, 1, 1)):
            size = max(counts)
            piece, seg = x.new_full((3, size, x.shape[-1]), torch.nan), torch.full((3, size), -1)
            pos, slots = torch.zeros(3, size, 1, dtype=torch.int64), []
            for row, n in enumerate(counts):
                first = size - n if side == "left" else 0
                slot = slice(first, first + n)
                seg[row, slot], pos[row, slot, 0] = 0, torch.arange(done[row], done[row] + n)
                piece[row, slot] = x[row, done[row] : done[row] + n]
                slots.append(slot)
            y, held = m.chunk(piece, Layout(seg, pos), held, shared)
            for row, (n, slot) in enumerate(zip(counts, slots)):
                if n:
                    want = whole[row, done[row] : done[row] + n]
                    _same(want, y[row, slot], f"row {row} of ragged chunks, {side} padding, and the whole")
                done[row] += n


@law(_streams)
def reorder(part: type[Part], options: Options) -> None:
    """A state is a tree of tensors, batch first: rows can be dropped, copied and exchanged."""
    s = subject(part, options)
    m = s.build()
    x, at, shared = torch.stack(s.sequences([9] * 3)), Layout.dense(3, 9), s.shared("rows", [9] * 3)
    _, held = m.chunk(x[:, :8], at.span(0, 8), m.start(3, x), shared)
    for leaf in [*tree_leaves(m.start(3, x)), *tree_leaves(held)]:
        _law(isinstance(leaf, Tensor), f"the state holds a {type(leaf).__name__}, which is no tensor")
        _law(leaf.dim() > 0 and leaf.shape[0] == 3, f"the state holds a tensor {tuple(leaf.shape)} for a batch of 3")
    order = torch.tensor([2, 0, 0, 1])
    lent = {k: (v[order], a.select(order)) for k, (v, a) in shared.lent.items()}
    last = at.span(8, 9)
    plain, _ = m.chunk(x[:, 8:], last, held, shared)
    moved, _ = m.chunk(x[order, 8:], last.select(order) if lent else Layout.dense(4, 1, 8), states.reorder(held, order), Shared(lent))
    _same(plain[order], moved, "rows of a state in another order")


@law(lambda s, m: s.piecewise(m))
def spans(part: type[Part], options: Options) -> None:
    """A part that works on each token alone gives for a piece the piece of what it gives for the whole."""
    s = subject(part, options)
    m = s.build()
    x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
    pieces = [s.piece(m, x, at, a, b) for a, b in ((0, 1), (1, 8), (8, LONG))]
    _same(s.piece(m, x, at, 0, LONG), torch.cat(pieces, 1), "pieces and the whole")


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
    _law(differ, f"declares that it couples tokens of a {s.couples(m)}, but does not")


@law(lambda s, m: bool(getattr(s.part, "takes", ())))
def lends(part: type[Part], options: Options) -> None:
    """What one layer lends another uses, alike in the whole and in steps, and then keeps nothing itself."""
    s = subject(part, options)
    for name in s.part.takes:
        _law(name in s.part.gives, f"takes {name!r} but does not give it, so no layer of its kind can lend it")
        first, second = s.build(0), s.build(1)
        second.borrow(name)
        x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
        one = Shared()
        h = x + first(x, at, one)
        _law(name in one.given, f"declares that it gives {name!r} but does not")
        whole = h + second(h, at, Shared({name: one.given[name]}))
        other = Shared()
        first(torch.flip(x, [1]), at, other)
        swapped = h + second(h, at, Shared({name: other.given[name]}))
        _law(not torch.equal(whole, swapped), f"ignores the {name!r} that it borrows")
        outs, a, b = [], first.start(2, x), second.start(2, x)
        if not (first.causal and first.streams):
            continue
        for t in range(LONG):
            here, one = at.span(t, t + 1), Shared()
            y, a = first.step(x[:, t : t + 1], here, a, one)
            h = x[:, t : t + 1] + y
            y, b = second.step(h, here, b, Shared({name: one.given[name]}))
            outs.append(h + y)
        _same(whole, torch.cat(outs, 1), f"two layers that share {name!r}, in steps and the whole")


@law(lambda s, m: s.part.family == "embeds")
def clean(part: type[Part], options: Options) -> None:
    """Hidden padding is zero, and a batch without a layout is one of full sequences."""
    s = subject(part, options)
    m = s.build()
    for form in s.forms:
        xs = s.sequences(LENGTHS)
        x, at = m(gather(form, xs, s.junk(xs[0])), s.layout(form, LENGTHS))
        _law(bool((x[~at.valid.expand(x.shape[:2])] == 0).all()), f"hidden padding is not zero in a {form} batch")
    xs = s.sequences([s.length] * 2)
    (x, at), (y, there) = m(torch.stack(xs)), m(torch.stack(xs), s.layout("rows", [s.length] * 2))
    _same(x, y, "without a layout and with that of full sequences")
    _law(torch.equal(at.pos, there.pos) and at.grid == there.grid, "without a layout: other positions come out")


# ---- gradients and precision


@law(_runs)
def gradients(part: type[Part], options: Options) -> None:
    """Gradients are those of the function, for inputs and parameters, dense and packed."""
    s = subject(part, options)
    m = s.build()
    learned = [p for p in m.parameters() if p.requires_grad]  # gradcheck moves them in place
    for form, lengths in (("rows", (s.length,)), ("packed", (3, 1, 4))):
        if form != "rows" and form not in s.forms:
            continue
        xs = _open(s.sequences(lengths))

        def fn(*tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(y for y in s.run(m, tensors[: len(xs)], form) if y.is_floating_point())

        try:
            torch.autograd.gradcheck(fn, (*xs, *learned), atol=GRADCHECK, rtol=GRADCHECK, fast_mode=True)
        except RuntimeError as fault:
            raise AssertionError(f"{form}: {' '.join(str(fault).split())[:160]}") from None


@law(_runs)
def bf16(part: type[Part], options: Options) -> None:
    """In bfloat16 the result is finite, of that type, and errs no more than twice what the reference errs."""
    s = subject(part, options)
    half = s.build().to(torch.bfloat16)
    xs = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in s.sequences((LONG, 7) if "packed" in s.forms else (s.length,) * 2)]
    wide = s.build()
    wide.load_state_dict({k: v.to(wide.state_dict()[k].dtype) for k, v in half.state_dict().items()})
    form = "packed" if "packed" in s.forms else "rows"
    with torch.no_grad():
        exact = s.run(wide, [x.double() if x.is_floating_point() else x for x in xs], form)
        fast = s.run(half, xs, form)
        with backend.only("reference"):
            slow = s.run(half, xs, form)
    for y in fast:
        _law(y.dtype in (torch.bfloat16, torch.int64, torch.bool), f"answers {y.dtype} to torch.bfloat16")
        _law(bool(y.isfinite().all()), "is not finite")
    own, allowed = _rms(exact, fast), ROUNDING * _rms(exact, slow)
    _law(own <= allowed + 1e-12, f"errs {own:.1e}, over {ROUNDING} times the reference's {allowed / ROUNDING:.1e}")


@law(_runs)
def compiles(part: type[Part], options: Options) -> None:
    """torch.compile gives what eager gives, outputs and gradients.

    The backend is aot_eager: tracing, functionalisation and the joint graph, where parts can go wrong;
    code generation is torch's own, takes ten times as long, and needs a C++ compiler. Full batches only: ragged
    ones break the graph wherever shapes depend on values, which takes minutes to trace for all parts.
    """
    s = subject(part, options)
    m = s.build()
    xs = _open(s.sequences((12, 12)))
    leaves = [x for x in xs if x.requires_grad] + [p for p in m.parameters() if p.requires_grad]
    eager = s.run(m, xs, "rows")
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what breaks the graph
        s.call = torch.compile(s.call, backend="aot_eager", dynamic=False)
        fast = s.run(m, xs, "rows")
    _alike(eager, fast, "compiled and eager")
    _alike(_grads(_weighted(eager), leaves), _grads(_weighted(fast), leaves), "gradients compiled and eager")


# ---- files and options


@law(_runs)
def saves(part: type[Part], options: Options) -> None:
    """A saved part, loaded into one built from another seed, is the same to the bit; saving twice gives the same bytes."""
    s = subject(part, options)
    m = s.build(0)
    data = _bytes(m)
    _law(data == _bytes(m), "two saves of one part differ")
    again = s.new(7).double()
    again.load_state_dict(safetensors.torch.load(data))
    _law(data == _bytes(again), "a loaded part saves to other bytes")
    xs = s.sequences([s.length] * 2)
    for a, b in zip(s.run(m, xs, "rows"), s.run(again, xs, "rows")):
        _law(torch.equal(a, b), "a loaded part answers differently: some of what it computes with is not saved")


def _bytes(m: torch.nn.Module) -> bytes:
    return safetensors.torch.save({k: v.detach().clone().contiguous() for k, v in m.state_dict().items()})


@law()
def configs(part: type[Part], options: Options) -> None:
    """A config survives its dump, builds the same part again, and refuses an option it does not know."""
    s = subject(part, options)
    c = s.config()
    tree = json.loads(json.dumps(c.dump()))
    again = config(part.family, tree)
    _law(again.dump() == c.dump() and type(again).model_fields.keys() == type(c).model_fields.keys(), "its dump reads back as another config")
    _law(json.dumps(again.dump()) == json.dumps(c.dump()), "dumps twice as different text")
    one, two = s.new(3).state_dict(), s.new(3, parse(part.Config, {k: v for k, v in tree.items() if k != "use"}, s.name)).state_dict()
    _law(one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one), "its dump and seed build another part")
    try:
        s.config(no_such_option=1)
    except InputError as refusal:
        hidden = [k for k in part.Config.model_fields if k not in str(refusal)]
        _law("no_such_option" in str(refusal) and not hidden, f"refuses an unknown option without naming {hidden or 'it'}")
    else:
        raise AssertionError("accepts an option that it does not know")


@law()
def matters(part: type[Part], options: Options) -> None:
    """Every option that an example sets changes the parameters, the results, the gradients or the cost."""
    s = subject(part, options)
    own = _print(s)
    for key, value in options.items():
        rest = {k: v for k, v in options.items() if k != key}
        default = part.Config.model_fields[key]
        if default.is_required() or getattr(s.config(), key) == default.get_default(call_default_factory=True):
            continue
        try:
            other = _print(subject(part, rest))
        except InputError:
            continue  # the other options need this one
        works = _differ(own, other) or (_runs(s, None) and _cost(s) != _cost(subject(part, rest)))
        _law(works, f"option {key}={value!r} changes nothing")


def _print(s: Subject) -> list[Any]:
    """Everything an option could change."""
    m = s.build()
    if s.part.family == "objectives":
        at = layout("mixed", MANY)
        raw, shape = _question(m, s.config(), at)
        target = m.corrupt(raw, at, torch.Generator().manual_seed(1))
        out = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        return [*tree_leaves(target), *m.loss(out, target[1]).values()]
    found: list[Any] = [{k: tuple(v.shape) for k, v in m.state_dict().items()}, *m.state_dict().values()]
    forms = [f for f in ("packed", "right") if f in s.forms]
    for form, lengths in [("rows", [s.length] * 2), *((f, (LONG, 6)) for f in forms)]:
        for training in (False, True):
            torch.manual_seed(5)
            xs = s.sequences(lengths)
            losses: dict[str, Tensor] = {}
            found += [*s.run(m.train(training), xs, form, losses), *losses.values()]
    return found


def _cost(s: Subject) -> cost.Cost:
    return cost.trace(*s.costed(s.new(), s.sizes[0]))


def _differ(a: list[Any], b: list[Any]) -> bool:
    if len(a) != len(b):
        return True
    same = (x.shape == y.shape and torch.equal(x, y) if isinstance(x, Tensor) else x == y for x, y in zip(a, b))
    return not all(same)


@law()
def declares(part: type[Part], options: Options) -> None:
    """A part names its source, says what it computes, and what it cannot do raises."""
    s = subject(part, options)
    m = s.new()
    simple = part.family in ("embeds", "heads", "objectives") or not (part.Config.model_fields or m.state_dict())
    _law(simple or bool(part.paper.strip()), "names no paper")
    _law(bool((part.__doc__ or "").strip()), "has no docstring")
    _law(getattr(m, "growth", "n") in GROWTH, f"declares growth {getattr(m, 'growth', None)!r}; known: {list(GROWTH)}")
    if part.family == "mixers" and not m.streams:
        try:
            m.start(1, torch.zeros(1))
        except NotImplementedError:
            return
        raise AssertionError("says it does not stream, but start() answers")


# ---- backends and cost


@law(_runs)
def kernels(part: type[Part], options: Options) -> None:
    """Every kernel that takes a call of this part equals the reference there, outputs and gradients."""
    s = subject(part, options)
    for operator, name, args in kernel_calls(s):
        run = next(k.run for k in operator.kernels if k.name == name)
        _compare(f"{operator.name}:{name}", operator.reference, run, args)


def kernel_calls(s: Subject, seed: int = 11) -> Iterator[tuple[backend.Operator, str, tuple[Any, ...]]]:
    """(operator, kernel that takes it, arguments) of every call the part makes on random shapes."""
    m = s.build(seed)
    rng = torch.Generator().manual_seed(seed)
    draw = lambda n, low, high: torch.randint(low, high, (n,), generator=rng).tolist()
    forms = [("rows", [s.length] * 2)]
    forms += [(form, draw(3, 1, s.longest)) for form in s.forms]
    calls: list[tuple[backend.Operator, tuple[Any, ...]]] = []
    with _listening(calls):
        for form, lengths in forms:
            s.run(m, s.sequences(lengths, seed), form)
        if getattr(m, "causal", False) and getattr(m, "streams", False):
            x, at = torch.stack(s.sequences([LONG] * 2)), Layout.dense(2, LONG)
            shared, held = s.shared("rows", [LONG] * 2), m.start(2, x)
            for a, b in ((0, 9), (9, 10), (10, LONG)):
                _, held = m.chunk(x[:, a:b], at.span(a, b), held, shared)
    for operator, args in calls:
        for kernel in operator.kernels:
            if kernel.refuses(*args) is None:
                yield operator, kernel.name, args


@contextmanager
def _listening(calls: list[tuple[backend.Operator, tuple[Any, ...]]]) -> Iterator[None]:
    plain = backend.Operator.__call__

    def heard(self: backend.Operator, *args: Any) -> Any:
        calls.append((self, args))
        return plain(self, *args)

    backend.Operator.__call__ = heard
    try:
        yield
    finally:
        backend.Operator.__call__ = plain


def _compare(name: str, reference: Callable[..., Any], run: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Both on the same arguments, with gradients into every floating tensor among them."""
    results = []
    for fn in (reference, run):
        own = tree_map_only(Tensor, lambda t: t.detach().clone().requires_grad_(t.is_floating_point()), args)
        leaves = [t for t in tree_leaves(own) if isinstance(t, Tensor) and t.requires_grad]
        out = [t for t in tree_leaves(fn(*own)) if isinstance(t, Tensor)]
        results.append((out, _grads(_weighted(out), leaves)))
    (want, slopes), (got, slopes_got) = results
    _alike(want, got, f"kernel {name} and its reference")
    _alike(slopes, slopes_got, f"gradients of kernel {name} and its reference")


@law(lambda s, m: s.part.family == "objectives")
def asks(part: type[Part], options: Options) -> None:
    """Corruption depends on its generator alone, the loss has right gradients, and padding is not asked for."""
    s = subject(part, options)
    m = s.new()
    at = layout("mixed", MANY)
    raw, shape = _question(m, s.config(), at)
    draw = lambda raw: m.corrupt(raw, at, torch.Generator().manual_seed(1))
    before = [t.clone() for t in tree_leaves(raw)]
    (one, target), (two, again) = draw(raw), draw(raw)
    _alike([*tree_leaves(one), *tree_leaves(target)], [*tree_leaves(two), *tree_leaves(again)], "two draws from one seed")
    _alike(before, tree_leaves(raw), "the input before and after corruption")
    out = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    loss = m.loss(out, target)
    _law("loss" in loss and loss["loss"].dim() == 0 and bool(loss["loss"].isfinite()), "gives no finite scalar named 'loss'")
    grad = _grads(loss["loss"], [out])[0]
    _law(grad.abs().max().item() > 0, "the loss has no gradient into the answer")
    torch.autograd.gradcheck(lambda o: m.loss(o, target)["loss"], (out,), atol=GRADCHECK, rtol=GRADCHECK, fast_mode=True)
    if shape[:2] == at.seg.shape:
        worst = grad[~at.valid].abs().max().item()
        _law(worst == 0, f"the loss has gradient {worst:.1e} into answers at padding")
        junk = torch.where(at.valid, raw, 2**40)
        _same(loss["loss"], m.loss(out, draw(junk)[1])["loss"], "the loss with other ids at padding")


def _question(m: Any, c: Any, at: Layout) -> tuple[Any, tuple[int, ...]]:
    """(raw input, shape of the answer) of the first kind that the objective takes: ids, a class, numbers."""
    rng = torch.Generator().manual_seed(0)
    vocab = getattr(c, "vocab", 11)
    ids = torch.randint(vocab, at.seg.shape, generator=rng)
    classes, numbers = torch.tensor([2, 0, 1]), torch.randn(3, 4, 2, generator=rng, dtype=torch.float64)
    kinds = ((ids, (*ids.shape, vocab)), ((ids, classes), (3, 5)), ((ids, numbers), (3, 4, 2)))
    for raw, shape in kinds:
        try:
            m.loss(torch.zeros(shape, dtype=torch.float64), m.corrupt(raw, at, torch.Generator().manual_seed(1))[1])
        except (InputError, AttributeError, TypeError, RuntimeError):
            continue
        return raw, shape
    raise AssertionError("takes neither token ids, nor classes, nor numbers")


GROWTH = {"n": (0.0, 1.03), "n log n": (1.01, 1.3), "n^2": (1.8, 2.05)}  # exponents that pass for each


@law(lambda s, m: s.part.family in ("mixers", "channels", "norms", "residuals"))
def grows(part: type[Part], options: Options) -> None:
    """FLOPs and bytes grow with length as declared: neither faster, nor slower than boasted of."""
    s = subject(part, options)
    m = s.new()
    declared = getattr(m, "growth", "n")
    low, high = GROWTH[declared]
    counted = {n: cost.trace(*s.costed(m, n)) for n in s.sizes}
    worst = -math.inf
    for what in ("flops", "bytes"):
        found = cost.growth({n: getattr(c, what) for n, c in counted.items()})
        _law(found <= high, f"declared {declared}, but {what} grow with exponent {found:.3f}")
        worst = max(worst, found)
    _law(worst >= low, f"declared {declared}, but neither flops nor bytes grow faster than exponent {worst:.3f}")


# ---- judging


def _law(holds: bool, told: str) -> None:
    if not holds:
        raise AssertionError(told)


def _same(want: Tensor, got: Tensor, what: str) -> None:
    _law(want.shape == got.shape, f"{what} have shapes {tuple(want.shape)} and {tuple(got.shape)}")
    if want.numel() == 0:
        return
    if not want.is_floating_point():
        _law(torch.equal(want, got), f"{what} differ")
        return
    scale = want.detach().abs().max().item()
    apart = (want - got).detach().abs().max().item()
    _law(math.isfinite(scale), f"{what}: the first is not finite")
    _law(math.isfinite(apart), f"{what}: the second is not finite")
    _law(apart <= RTOL * scale + 1e-12, f"{what} differ by {apart:.1e} at scale {scale:.1e}")


def _alike(want: Sequence[Tensor], got: Sequence[Tensor], what: str) -> None:
    _law(len(want) == len(got), f"{what}: {len(want)} and {len(got)} results")
    for a, b in zip(want, got):
        _same(a, b, what)


def _open(xs: list[Tensor]) -> list[Tensor]:
    """The same, with gradients into all that can have one."""
    return [x.requires_grad_(x.is_floating_point()) for x in xs]


def _weighted(ys: Sequence[Tensor]) -> Tensor:
    """A scalar in which every output counts differently."""
    total = torch.zeros((), dtype=torch.float64)
    for y in ys:
        if y.is_floating_point():
            weight = torch.arange(1, y.numel() + 1, dtype=torch.float64).mul(0.7).cos().view(y.shape)
            total = total + (weight * y).sum()
    return total


def _grads(y: Tensor, xs: Sequence[Tensor]) -> list[Tensor]:
    if not xs or not y.requires_grad:
        return [torch.zeros_like(x) for x in xs]
    found = torch.autograd.grad(y, xs, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(xs, found)]


def _rms(want: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    real = [(a, b) for a, b in zip(want, got) if a.is_floating_point()]
    return math.sqrt(sum((a.double() - b.double()).square().sum().item() for a, b in real))
