"""Running code for its shapes alone: tensors without memory, but with the values that follow from integers.

Lengths, positions, masks and token ids decide which operations run; what they hold is small. They are
computed for real beside their fake twins, so that packed and padded batches can be run at any length. Code
that branches on learned or floating values cannot be, and raises one of `BRANCHES`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedOperatorException,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

BRANCHES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException)
LARGEST = 1 << 20  # numbers of a tensor whose values are kept


class Shapes(TorchDispatchMode):
    """`with Shapes() as shapes: fn(shapes.of(x))`; everything made inside is without memory."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._values: Any = WeakIdKeyDictionary()  # fake tensor -> real one
        self._outside: dict[int, Tensor] = {}  # twins of parameters and buffers, held so that each has one

    def __enter__(self) -> Shapes:
        self._fake.__enter__()
        return super().__enter__()

    def __exit__(self, *fault: Any) -> None:
        super().__exit__(*fault)
        self._fake.__exit__(*fault)

    def of(self, x: Tensor) -> Tensor:
        """The twin of a real tensor, which keeps its values if they are integers."""
        if isinstance(x, FakeTensor):
            return x
        twin = self._outside.setdefault(id(x), self._fake.from_tensor(x))
        if not x.is_floating_point() and not x.is_complex():
            self._values[twin] = x
        return twin

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(Tensor, self.of, (args, kwargs or {}))
        reads = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        known = self._follows(func, reads)
        if known and _depends_on_values(func):
            out = self._really(func, args, kwargs)
            return tree_map_only(Tensor, self._twin, out)
        out = func(*self._spelled(func, args), **kwargs)
        writes = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if known and all(t.numel() <= LARGEST for t in writes):
            real = [t for t in tree_leaves(self._really(func, args, kwargs)) if isinstance(t, Tensor)]
            for twin, value in zip(writes, real, strict=True):
                self._values[twin] = value
        elif func._schema.is_mutable:
            self._forget(writes)
        return out

    def _follows(self, func: Any, reads: list[Tensor]) -> bool:
        random = torch.Tag.nondeterministic_seeded in func.tags
        return not random and func.namespace != "prim" and all(t in self._values for t in reads)

    def _spelled(self, func: Any, args: Any) -> Any:
        """The arguments, with masks that pick elements written as the indices of what they pick."""
        if func.overloadpacket.__name__ not in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return args
        picked: list[Tensor | None] = []
        for i in args[1]:
            mask = self._values.get(i) if i is not None and i.dtype == torch.bool else None
            if mask is None:
                picked.append(i)
                continue
            with unset_fake_temporarily():
                places = mask.nonzero(as_tuple=True)
            picked += [self._twin(p) for p in places]
        return (args[0], picked, *args[2:])

    def _really(self, func: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = tree_map_only(Tensor, self._values.__getitem__, (args, kwargs))
        with unset_fake_temporarily():
            return func(*args, **kwargs)

    def _twin(self, value: Tensor) -> Tensor:
        twin = self._fake.from_tensor(value)
        self._values[twin] = value
        return twin

    def _forget(self, changed: list[Tensor]) -> None:
        """Something unknown was written: whatever shares this memory is unknown too."""
        homes = {t.untyped_storage()._cdata for t in changed}
        for twin in [t for t in self._values if t.untyped_storage()._cdata in homes]:
            del self._values[twin]


def _depends_on_values(func: Any) -> bool:
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
