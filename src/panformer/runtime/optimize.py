"""Make a finished model fast on this machine: each linear map in the form that was measured to be best here."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from ..core.errors import InputError, check_type
from ..core.layout import Batch, Layout
from ..core.maps import is_plain
from ..core.part import Config, config
from ..core.spec import Stand
from ..model.linears import replace_linears
from ..model.model import Model
from ..model.recentre import Form, recentre
from .fuse import fused
from .reach import Reach, fit, watched

Goal = Literal["latency", "throughput", "memory"]
Dtype = Literal["same", "auto"]
Norms = Literal["same", "rms", "crms"]
ROWS = {"latency": 1, "throughput": 1024, "memory": 16}  # rows that a map is measured with
LENGTHS = (32, 8, 1)  # of the input that is drawn
SECONDS = 0.02  # for one form of one shape
FASTER = 0.8  # bf16 is taken where its products need at most this part of fp32's time: where units are built for it


@dataclass(frozen=True)
class Edit:
    """One change to a built model."""

    where: str  # path pattern of the maps, or norms
    use: str  # what stands there now
    maps: int  # or norms
    before_us: float  # time of one such map on `rows` rows, as it was and as it is
    after_us: float
    rows: int
    bytes_saved: int


class Optimized(NamedTuple):
    model: Model
    ledger: list[Edit]
    error: float  # of the whole model on the sample: largest difference over the largest answer
    tolerance: float

    def dump(self) -> dict[str, Any]:
        return {"error": self.error, "tolerance": self.tolerance, "edits": [asdict(e) for e in self.ledger]}


def optimize(
    model: Model,
    for_: Goal = "throughput",
    sample: Sequence[Any] | None = None,
    tolerance: float = 0.02,
    forms: Sequence[str | dict[str, Any]] | None = None,
    dtype: Dtype = "same",
    rows: int | None = None,
    device: str | torch.device | None = None,
    norms: Norms = "same",
) -> Optimized:
    """A copy of `model` for inference with each linear map in the form that is fastest here (or smallest), by measurement.

    `sample` holds arguments of a call, to compare answers on; by default one of the model's own kind is drawn. The
    copy's answers to it differ by at most `tolerance` relative to the largest answer: a form that breaks this is given
    up for all maps, the coarsest first. `forms` are the linears tried, next to the plain map: by default `packed`,
    `int8`, with a sample `int8_static`, and for memory `int4`. `int8_static` is fitted to what each map reads on the
    sample, and cuts off what is far beyond it later: the sample should have many rows like those that are to come (a
    map behind a pool reads one per sequence). With dtype `auto` an fp32 model becomes bf16 where that was measured to
    be faster here, which is the last to be given up. `rows` is how many tokens a call brings; by default 1 for latency,
    1024 for throughput, 16 for memory. Norms that linear maps can take over are gone first (`fused`). `norms` rewrites
    layer norms, exactly, as `panformer.model.recentre` says, whether or not they are faster here. The copy is measured
    and left on `device`, by default where the model is. The measured times, the bytes saved and the error are in the
    ledger.
    """
    check_type("optimize", model, Model)
    if for_ not in get_args(Goal):
        raise InputError(f"optimize: for_ must be one of {', '.join(get_args(Goal))}, got {for_!r}")
    if not 0 <= tolerance < 1:
        raise InputError(f"optimize: tolerance must be from 0 to 1, got {tolerance}")
    if dtype not in get_args(Dtype):
        raise InputError(f"optimize: dtype must be one of {', '.join(get_args(Dtype))}, got {dtype!r}")
    if norms not in get_args(Norms):
        raise InputError(f"optimize: norms must be one of {', '.join(get_args(Norms))}, got {norms!r}")
    if rows is not None and rows < 1:
        raise InputError(f"optimize: rows must be at least 1, got {rows}")
    static = ("int8_static",) if sample is not None else ()
    small = ({"use": "int4", "group": 32},) if for_ == "memory" else ()
    tried = [config("linears", f) for f in (("packed", "int8", *static, *small) if forms is None else forms)]
    if sample is None and any(f.part.fits for f in tried):
        raise InputError("optimize: forms that are fitted to what comes in need a sample")
    call = tuple(sample) if sample is not None else _drawn(model)
    size, given = rows or ROWS[for_], model
    model, rewritten = _folded(model, call, size)
    if norms != "same":
        model, centred = _recentred(model, norms, size)
        rewritten += centred
    want, reach = watched(model, lambda: _answer(model, tuple(_as(x, model) for x in call)))
    if rewritten:
        want = _answer(given, tuple(_as(x, given) for x in call))
    if device is not None:
        model = copy.deepcopy(model).to(_there(device))
    narrow = [narrowed(model, size)] if dtype == "auto" else []
    for start, first in [*(n for n in narrow if n is not None), (model, [])]:
        for count in range(len(tried), -1, -1):  # from fine to coarse: the coarsest goes first
            copied, ledger = _replaced(start, for_, tried[:count], size, reach)
            error = _apart(_answer(copied, tuple(_as(x, copied) for x in call)), want)
            if error <= tolerance:
                return Optimized(copied, [*rewritten, *first, *ledger], error, tolerance)
    return Optimized(copied, [*rewritten, *ledger], error, tolerance)


def _folded(model: Model, call: tuple[Any, ...], rows: int) -> tuple[Model, list[Edit]]:
    """The model without the norms that its linear maps can take over, and what that brings."""
    out, paths = fused(model, lambda m: _answer(m, tuple(_as(x, m) for x in call)))
    if not paths:
        return model, []
    kind = next(model.parameters())
    norm = copy.deepcopy(model.get_submodule(paths[0])).eval()
    x = torch.randn(1, rows, model.spec.width, dtype=kind.dtype, device=kind.device)
    before = _race([partial(norm, at=Layout.dense(1, rows, device=kind.device))], [x])[0]
    return out, [Edit(_pattern(paths), "folded", len(paths), before, 0.0, rows, _bytes(model) - _bytes(out))]


def _recentred(model: Model, form: Form, rows: int) -> tuple[Model, list[Edit]]:
    """The model with norms without a mean, and what they bring."""
    new = recentre(model, form)
    old, other = model.trunk.final, new.trunk.final
    assert old is not None and other is not None
    kind = next(model.parameters())
    at = Layout.dense(1, rows, device=kind.device)
    xs = [torch.randn(1, rows, m.spec.width, dtype=kind.dtype, device=kind.device) for m in (model, new)]
    before, after = _race([partial(old, at=at), partial(other, at=at)], xs)
    own = [m for n, m in new.trunk.named_modules() if n == "final" or ".residual." in n]
    count = sum(isinstance(m, type(other)) for m in own)
    return new, [Edit("trunk.*.norms", form, count, before, after, rows, _bytes(model) - _bytes(new))]


def best_form(plain: nn.Linear, for_: Goal, forms: Sequence[Config], rows: int) -> tuple[Config | None, float, float]:
    """(the form to put in the place of a plain map, None to leave it; microseconds of the plain map, of that form)."""
    x = torch.randn(rows, plain.in_features, dtype=plain.weight.dtype, device=plain.weight.device)
    runs: list[tuple[Config | None, nn.Module]] = [(None, plain)]
    for form in forms:
        try:
            runs.append((form, _form(plain, form)))
        except InputError:  # a form that this shape does not fit
            continue
    times = _race([module for _, module in runs], [x] * len(runs))
    found = [
        (_bytes(module) if for_ == "memory" else took, took, form)
        for (form, module), took in zip(runs, times, strict=True)
    ]
    _, took, best = min(found, key=lambda f: f[:2])
    return best, times[0], took


def narrowed(model: Model, rows: int) -> tuple[Model, list[Edit]] | None:
    """The model in bf16, where it is in fp32 and its largest map is faster so."""
    plain = [m for m in model.modules() if isinstance(m, nn.Linear) and is_plain(m)]
    kinds = {p.dtype for p in model.parameters()}
    if not plain or kinds != {torch.float32}:
        return None
    wide = max(plain, key=lambda m: m.weight.numel())
    x = torch.randn(rows, wide.in_features, device=wide.weight.device)
    before, after = _race([wide, copy.deepcopy(wide).bfloat16()], [x, x.bfloat16()])
    if after > FASTER * before:
        return None
    out = copy.deepcopy(model).eval().bfloat16()
    return out, [Edit("*", "bf16", len(plain), before, after, rows, _bytes(model) - _bytes(out))]


def _replaced(model: Model, goal: Goal, forms: Sequence[Config], rows: int, reach: Reach) -> tuple[Model, list[Edit]]:
    out = copy.deepcopy(model).eval()
    maps: dict[tuple[int, int, bool], list[str]] = {}
    for path, module in out.named_modules():
        if is_plain(module):
            maps.setdefault((module.in_features, module.out_features, module.bias is not None), []).append(path)
    ledger: list[Edit] = []
    stands = list(out.spec.linears)
    for paths in maps.values():
        plain = out.get_submodule(paths[0])
        assert isinstance(plain, nn.Linear)
        best, before, after = best_form(plain, goal, forms, rows)
        if best is None:
            continue
        saved = _bytes(plain) - _bytes(_form(plain, best))
        for path in paths:
            stand = Stand(where=path, use=best)
            replace_linears(out, stand)
            stands.append(stand)
        ledger.append(Edit(_pattern(paths), best.part.use(), len(paths), before, after, rows, saved * len(paths)))
    fit(out, model, reach)
    out.spec = out.spec.model_copy(update={"linears": tuple(stands)})
    return out, ledger


def _form(plain: nn.Linear, form: Config) -> nn.Module:
    part = form.part(form, plain.in_features, plain.out_features, plain.bias is not None)
    part.take(plain)
    if part.fits:  # its speed is the same for all
        one = torch.ones(plain.in_features, device=plain.weight.device)
        part.fit(plain, -one, one)
    return part.eval().to(plain.weight.device)


def _there(device: str | torch.device) -> torch.device:
    """The device, seen to work; InputError names those that this machine has."""
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"optimize: no device {str(device)!r} here; this machine has {', '.join(here)}") from None
    return found


def _race(modules: Sequence[Callable[[Tensor], Any]], inputs: Sequence[Tensor]) -> list[float]:
    """Median microseconds of each on its input, in turn."""
    times: list[list[float]] = [[] for _ in modules]
    with torch.inference_mode():
        for module, x in zip(modules, inputs, strict=True):
            module(x)
        began = time.perf_counter()
        while len(times[0]) < 5 or (time.perf_counter() - began < SECONDS * len(modules) and len(times[0]) < 200):
            for took, module, x in zip(times, modules, inputs, strict=True):
                start = time.perf_counter()
                module(x)
                if x.is_cuda:
                    torch.cuda.synchronize(x.device)
                took.append(time.perf_counter() - start)
    return [1e6 * sorted(t)[len(t) // 2] for t in times]


def _bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


def _drawn(model: Model) -> tuple[Any, ...]:
    """Arguments of a call: random input of the model's kind, as long as it takes of 32, 8 and 1 tokens."""
    for length in LENGTHS:
        call = _filled(model, length)
        try:
            _answer(model, call)
        except InputError:  # longer than its table of positions, say
            if length == LENGTHS[-1]:
                raise
        else:
            return call
    raise AssertionError("the last length returns or raises")


def _filled(model: Model, length: int) -> tuple[Any, ...]:
    rng = torch.Generator().manual_seed(0)

    def fill(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if x.is_floating_point():
            return torch.randn(x.shape, generator=rng).to(x)
        table: Any = getattr(model.embed, "table", None)
        return torch.randint(0, len(table.weight) if table is not None else 1, x.shape, generator=rng)

    return tuple(_as(fill(x), model) for x in model.dummy(length, 2))


def _as(x: Any, model: Model) -> Any:
    """An argument where the model is, and in the dtype that it computes in."""
    to = next(model.parameters())
    if isinstance(x, Batch):
        return Batch(_as(x.x, model), None if x.at is None else x.at.to(to.device))
    if not isinstance(x, Tensor):
        return x
    return x.to(to.device, to.dtype) if x.is_floating_point() else x.to(to.device)


def _answer(model: Model, call: tuple[Any, ...]) -> Tensor:
    with torch.inference_mode():
        return copy.deepcopy(model).eval()(*call).float() if model.training else model(*call).float()


def _apart(got: Tensor, want: Tensor) -> float:
    return float((got.to(want.device) - want).abs().max() / want.abs().max().clamp(min=1e-12))


def _pattern(paths: Sequence[str]) -> str:
    """One pattern that names all paths, numbers as `*`."""
    parts = [p.split(".") for p in paths]
    if len({len(p) for p in parts}) != 1:
        return f"{paths[0]} and {len(paths) - 1} more"
    return ".".join(c[0] if len(set(c)) == 1 else "*" for c in zip(*parts, strict=True))
