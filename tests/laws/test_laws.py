"""Every law on every part with every example: parts are found by listing the folders."""

import importlib
import json
import pkgutil

import pytest
import torch

from panformer import ops
from panformer.core.part import Part
from panformer.ops.backend import Operator

from .families import every, subject
from .laws import LAWS, kernel_calls


def _cases() -> list:
    cases = []
    for part, options in every():
        s = subject(part, options)
        try:
            module = s.build()
        except Exception:
            module = None  # a part that cannot be built fails its laws by name, not the collection
        for name, (_, speaks) in LAWS.items():
            if module is None or speaks(s, module):
                cases.append(
                    pytest.param(name, part, options, id=f"{name}-{part.family}/{part.use()}-{json.dumps(options)}")
                )
    return cases


@pytest.mark.parametrize(("name", "part", "options"), _cases())
def test_law(name: str, part: type[Part], options: dict) -> None:
    LAWS[name][0](part, options)


def test_every_kernel_is_compared_with_its_reference_in_some_part() -> None:
    """Operators are found by scanning ops/; the law `kernels` judges each kernel where a part's call reaches it."""
    modules = [importlib.import_module(f"panformer.ops.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    operators = {o.name: o for m in modules for o in vars(m).values() if isinstance(o, Operator)}
    here = torch.device("cpu"), torch.float64
    missing = {(o.name, k.name) for o in operators.values() for k in o.kernels if k.lacks(*here) is None}
    assert missing
    for part, options in every():
        if not missing:
            break
        s = subject(part, options)
        if LAWS["kernels"][1](s, s.build()):
            missing -= {(operator.name, kernel) for operator, kernel, _ in kernel_calls(s)}
    assert not missing, f"no part's examples reach these kernels: {sorted(missing)}"
