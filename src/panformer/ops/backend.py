"""An operator is a slow, obvious reference and any number of kernels that equal it.

A kernel says in words why it refuses a call, or takes it. What ran is recorded; nothing falls back
unseen: `record()` lists the backends, `only("reference")` pins one, and a pinned kernel that refuses raises.
Before a kernel serves its first call on a device and number format it has to give the reference's answer, and its
gradients where the call wants them, to the small `sample`; one that does not is left out there, with one warning.
While `torch.export` reads the code one program must serve all input, so no kernel may choose by it: the operator's
`traced` form runs, whose loops and shapes do not depend on numbers in the input, or the reference where that holds.
`torch.compile` ends a graph at an operator, but at one that is `whole` it reads on, if nobody records or pins while it
compiles; that code tells nothing later.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from threading import Lock
from typing import Any, NamedTuple

import torch

from ..core.errors import unknown
from ..core.layout import exporting
from .check import Found, Sample, asks_gradients, compare, format_of, watched

_used: ContextVar[Counter[str] | None] = ContextVar("used", default=None)
_pinned: ContextVar[str | None] = ContextVar("pinned", default=None)
_heard: ContextVar[list[tuple[Any, tuple[Any, ...]]] | None] = ContextVar("heard", default=None)
_checking = Lock()


class Kernel(NamedTuple):
    name: str
    refuses: Callable[..., str | None]  # the reason, or None where the kernel can run
    run: Callable[..., Any]
    sample: Sample | None = None  # where the operator's is no call for this kernel
    lacks: Callable[[torch.device, torch.dtype], str | None] = lambda device, dtype: None  # why it never runs there


Class = tuple[Kernel, torch.device, torch.dtype, bool]  # where, number format, whether gradients are compared too


class Operator:
    """Calls the first kernel that does not refuse, else the reference.

    `sample(device, dtype)` makes the arguments of one small call: the same numbers each time, of size about one, with
    all that kernels may do wrong in it (several sequences, a state, a length that is no multiple of a block).
    """

    def __init__(
        self,
        name: str,
        reference: Callable[..., Any],
        *kernels: Kernel,
        sample: Sample,
        traced: Callable[..., Any] | None = None,
        whole: bool = False,
    ) -> None:
        self.name, self.reference, self.kernels, self.sample = name, reference, kernels, sample
        self.traced = reference if traced is None else traced
        self.whole = whole  # whether torch.compile may read on through it: its compiled graphs were tried with others'
        self.found: dict[Class, Found] = {}
        self.faulty: set[str] = set()  # names of kernels that failed anywhere: compiled code looks no closer

    def __call__(self, *args: Any) -> Any:
        if exporting():
            self._note("traced")
            return self.traced(*args)
        if self.whole and torch.compiler.is_compiling() and _unwatched():
            return self._first(args)(*args)
        pinned, heard = _pinned.get(), _heard.get()
        if heard is not None:
            heard.append((self, args))
        for kernel in self.kernels:
            if pinned not in (None, kernel.name):
                continue
            reason = kernel.refuses(*args) or self._fault(kernel, args)
            if reason is None:
                self._note(kernel.name)
                return kernel.run(*args)
            if pinned is not None:
                raise RuntimeError(f"{self.name}: kernel {pinned} refuses: {reason}")
        self._note("reference")
        return self.reference(*args)

    def _first(self, args: tuple[Any, ...]) -> Callable[..., Any]:
        """What serves a call in compiled code."""
        for kernel in self.kernels:
            if kernel.name not in self.faulty and kernel.refuses(*args) is None:
                return kernel.run
        return self.reference

    def why(self, *args: Any) -> dict[str, str | None]:
        """Every kernel's reason for refusing this call; None where it would run."""
        return {k.name: k.refuses(*args) for k in self.kernels}

    def check(self, kernel: Kernel, device: torch.device, dtype: torch.dtype, grads: bool) -> Found:
        """What comparing the kernel with the reference there finds: compared once, a fault is told in one warning."""
        key: Class = (kernel, device, dtype, grads)
        with _checking:
            if key not in self.found:
                sample = kernel.sample or self.sample
                found = self.found[key] = compare(kernel.run, self.reference, sample, device, dtype, grads)
                if found.fault is not None:
                    self.found[kernel, device, dtype, not grads] = found
                    self.faulty.add(kernel.name)
                    warnings.warn(_told(self.name, key, found), RuntimeWarning, stacklevel=4)
        return self.found[key]

    def _fault(self, kernel: Kernel, args: tuple[Any, ...]) -> str | None:
        """Why this kernel is not believed for this call."""
        if torch.compiler.is_compiling():
            return "it failed its check here" if kernel.name in self.faulty else None
        place = format_of(args)
        if place is None:
            return None
        key: Class = (kernel, *place, asks_gradients(args))
        found = self.found.get(key)
        if found is None:
            if watched(args):
                return None
            found = self.check(*key)
        return None if found.fault is None else f"it failed its check here: {found.fault}"

    def _note(self, backend: str) -> None:
        used = _used.get()
        if used is not None:
            used[f"{self.name}:{backend}"] += 1


def _unwatched() -> bool:
    """Whether no backend is pinned, recorded or listened for."""
    return _pinned.get() is None and _used.get() is None and _heard.get() is None


vars(_unwatched)["_dynamo_marked_constant"] = True  # torch.compile cannot read context variables: it asks once, and
# code compiled while nobody watched is not watched later


def operators() -> list[Operator]:
    """All that the modules of ops/ hold, by name."""
    home = __name__.rpartition(".")[0]
    modules = [import_module(f"{home}.{m.name}") for m in iter_modules([str(Path(__file__).parent)])]
    found = {o.name: o for m in modules for o in vars(m).values() if isinstance(o, Operator)}
    return [found[name] for name in sorted(found)]


def _told(operator: str, key: Class, found: Found) -> str:
    kernel, device, dtype, grads = key
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return (
        f"{operator}: kernel {kernel.name} is left out on {device} ({name}) in {str(dtype).removeprefix('torch.')}"
        f"{' with gradients' if grads else ''}: compared with the reference, {found.fault}"
    )


@contextmanager
def record() -> Iterator[Counter[str]]:
    """Counts which backend served which operator: `with record() as used: model(x)`."""
    used: Counter[str] = Counter()
    token = _used.set(used)
    try:
        yield used
    finally:
        _used.reset(token)


@contextmanager
def listen() -> Iterator[list[tuple[Operator, tuple[Any, ...]]]]:
    """Every call of an operator with its arguments: `with listen() as calls: model(x)`."""
    calls: list[tuple[Operator, tuple[Any, ...]]] = []
    token = _heard.set(calls)
    try:
        yield calls
    finally:
        _heard.reset(token)


@contextmanager
def only(name: str, operator: Operator | None = None) -> Iterator[None]:
    """Pin one backend by name; "reference" is always known."""
    if operator is not None and name != "reference" and name not in [k.name for k in operator.kernels]:
        raise unknown(f"kernel of {operator.name}", name, ["reference", *(k.name for k in operator.kernels)])
    token = _pinned.set(name)
    try:
        yield
    finally:
        _pinned.reset(token)
