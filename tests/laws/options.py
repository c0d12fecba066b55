"""Files, configs and options; and what an objective asks for."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.pair import Pair
from panformer.core.part import Part, config
from panformer.measure import cost

from .families import subject
from .judge import LONG, Options, alike, grads, law, must, right_slope, runs, same
from .precision import GROWTH
from .subject import Subject, layout

MANY = (40, 50, 30)  # lengths of the sequences an objective asks about


@law(runs)
def saves(part: type[Part], options: Options) -> None:
    """Saved and loaded into a part of another seed, all answers are the same to the bit, and so is a second save."""
    s = subject(part, options)
    m = s.build(0)
    data = _bytes(m)
    must(data == _bytes(m), "two saves of one part differ")
    again = s.new(7).double()
    again.load_state_dict(safetensors.torch.load(data))
    must(data == _bytes(again), "a loaded part saves to other bytes")
    xs = s.sequences([s.length] * 2)
    for a, b in zip(s.run(m, xs, "rows"), s.run(again, xs, "rows")):
        must(torch.equal(a, b), "a loaded part answers differently: some of what it computes with is not saved")


def _bytes(m: torch.nn.Module) -> bytes:
    return safetensors.torch.save({k: v.detach().clone().contiguous() for k, v in m.state_dict().items()})


@law(lambda s, m: any(type(p).after_step is not Part.after_step for p in _parts(m)))
def settles(part: type[Part], options: Options) -> None:
    """What a part holds of its weights holds from the start, and again after one `after_step`, wherever they went."""
    s = subject(part, options)
    for m, where in ((s.new(0).double(), "in a new part"), (s.build(0), "a second time")):
        if where != "in a new part":
            _settle(m)
        before = {k: v.clone() for k, v in m.state_dict().items()}
        _settle(m)
        for k, v in m.state_dict().items():
            must(bool((v - before[k]).abs().max() < 1e-6), f"after_step changes {k} {where}")


def _settle(m: torch.nn.Module) -> None:
    with torch.no_grad():
        for p in _parts(m):
            p.after_step()


def _parts(m: torch.nn.Module) -> list[Part]:
    return [p for p in m.modules() if isinstance(p, Part)]


@law()
def configs(part: type[Part], options: Options) -> None:
    """A config survives its dump, builds the same part again, and refuses an option it does not know."""
    s = subject(part, options)
    c = s.config()
    tree = json.loads(json.dumps(c.dump()))
    again = config(part.family, tree)
    must(again.dump() == c.dump(), "its dump reads back as another config")
    must(json.dumps(again.dump()) == json.dumps(c.dump()), "dumps twice as different text")
    one, two = s.new(3).state_dict(), s.new(3, again).state_dict()
    equal = one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    must(equal, "its dump and seed build another part")
    try:
        s.config(no_such_option=1)
    except InputError as refusal:
        hidden = [k for k in part.Config.model_fields if k not in str(refusal)]
        must("no_such_option" in str(refusal) and not hidden, f"refuses an unknown option but does not name {hidden}")
    else:
        raise AssertionError("accepts an option that it does not know")


@law()
def matters(part: type[Part], options: Options) -> None:
    """Every option that an example sets changes the parameters, the results or the cost, here or in another example."""
    s, known = subject(part, options), {}
    for key, value in options.items():
        field, others = part.Config.model_fields[key], [o for o in part.examples if key in o and o != options]
        if field.is_required() or getattr(s.config(), key) == field.get_default(call_default_factory=True):
            continue
        must(any(_works(part, o, key, known) for o in (options, *others)), f"option {key}={value!r} changes nothing")


def _works(part: type[Part], options: Options, key: str, known: dict[str, list[Any]]) -> bool:
    """Whether the part is another one when this option is left out. What is known of examples is added to."""
    s, rest = subject(part, options), subject(part, {k: v for k, v in options.items() if k != key})
    if s.name not in known:
        known[s.name] = _print(s)
    try:
        other = _print(rest)
    except InputError:
        return True  # the other options, or the inputs that suit them, need this one
    return _differ(known[s.name], other) or (runs(s, None) and _cost(s) != _cost(rest))


def _print(s: Subject) -> list[Any]:
    """Everything an option could change."""
    m = s.build()
    if s.part.family == "objectives":
        at = layout("mixed", MANY)
        raw, shape = _question(m, s.config(), at)
        target = m.corrupt(raw, at, torch.Generator().manual_seed(1))
        out = torch.randn(shape, generator=torch.Generator().manual_seed(2))
        return [*_tensors(target), *m.loss(out, target[1]).values()]
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
    must(simple or bool(part.paper.strip()), "names no paper")
    must(bool((part.__doc__ or "").strip()), "has no docstring")
    must(getattr(m, "growth", "n") in GROWTH, f"declares growth {getattr(m, 'growth', None)!r}; known: {list(GROWTH)}")
    if part.family == "mixers" and not m.streams:
        try:
            m.start(1, torch.zeros(1))
        except NotImplementedError:
            return
        raise AssertionError("says it does not stream, but start() answers")


@law(lambda s, m: s.part.family == "objectives")
def asks(part: type[Part], options: Options) -> None:
    """Corruption depends on its generator alone, the loss has right gradients, and padding is not asked for."""
    s = subject(part, options)
    m = s.new()
    at = layout("mixed", MANY)
    raw, shape = _question(m, s.config(), at)

    def draw(raw: Any) -> Any:
        return m.corrupt(raw, at, torch.Generator().manual_seed(1))

    before = [t.clone() for t in tree_leaves(raw)]
    (one, target), (two, again) = draw(raw), draw(raw)
    alike(_tensors([one, target]), _tensors([two, again]), "two draws from one seed")
    alike(before, tree_leaves(raw), "the input before and after corruption")
    out = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    loss = m.loss(out, target)
    told = "loss" in loss and loss["loss"].dim() == 0 and bool(loss["loss"].isfinite())
    must(told, "gives no finite scalar named 'loss'")
    grad = grads(loss["loss"], [out])[0]
    must(grad.abs().max().item() > 0, "the loss has no gradient into the answer")
    right_slope(lambda o: m.loss(o, target)["loss"], [out])
    if isinstance(raw, Tensor):
        places = one.x.at if isinstance(one, Pair) else at
        worst = grad[~places.valid.repeat(m.passes, 1)].abs().max().item()
        must(worst == 0, f"the loss has gradient {worst:.1e} into answers at padding")
        junk = torch.where(at.valid, raw, 2**40)
        same(loss["loss"], m.loss(out, draw(junk)[1])["loss"], "the loss with other ids at padding")


def _tensors(tree: Any) -> list[Tensor]:
    """The tensors of a tree in which layouts may stand."""
    return [t for leaf in tree_leaves(tree) for t in ([leaf.seg, leaf.pos] if isinstance(leaf, Layout) else [leaf])]


def _question(m: Any, c: Any, at: Layout) -> tuple[Any, tuple[int, ...]]:
    """(raw input, shape of the answer) of the first kind that the objective takes: ids, a class, numbers."""
    rng = torch.Generator().manual_seed(0)
    vocab = getattr(c, "vocab", 11)
    ids = torch.randint(vocab, at.seg.shape, generator=rng)
    classes, numbers = torch.tensor([2, 0, 1]), torch.randn(3, 4, 2, generator=rng, dtype=torch.float64)
    kinds = ((ids, (vocab,)), ((ids, classes), (5,)), ((ids, numbers), ()))
    for raw, width in kinds:
        try:
            made = m.corrupt(raw, at, torch.Generator().manual_seed(1))
            if not isinstance(made, tuple):  # it would have answered with labels, had there been any
                continue
            target = made[1]
            shape = (m.passes * len(target), *target.shape[1:], *width)
            m.loss(torch.zeros(shape, dtype=torch.float64), target)
        except (InputError, AttributeError, TypeError, RuntimeError):
            continue
        return raw, shape
    raise AssertionError("takes neither token ids, nor classes, nor numbers")
