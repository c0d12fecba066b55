"""The public names, called with what they cannot use: one line that names the culprit, never a bare traceback."""

import numpy as np
import pytest
import torch

import panformer
from panformer import Batch, InputError, Layout, pack, pad

LM = {
    "width": 8, "causal": True, "embed": {"use": "bytes"}, "head": {"use": "lm", "vocab": 256},
    "schedule": [{"repeat": 1, "mixer": {"use": "attention", "heads": 2}}],
}  # fmt: skip


@pytest.fixture(scope="module")
def lm():
    return panformer.build(LM, seed=0)


TOKENS = torch.tensor([[1, 2]])
CALLS = {
    "dense -1": (lambda lm: Layout.dense(-1, 5), "batch is a whole number from 0 on, got -1"),
    "dense -5 long": (lambda lm: Layout.dense(1, -5), "length is a whole number"),
    "dense of text": (lambda lm: Layout.dense("2", 5), "got '2'"),
    "dense of a fraction": (lambda lm: Layout.dense(1.5, 5), "got 1.5"),
    "padded none": (lambda lm: Layout.padded(None), "positive integers, got None"),
    "padded text": (lambda lm: Layout.padded("ab"), "got 'ab'"),
    "padded fractions": (lambda lm: Layout.padded([1.5]), "got [1.5]"),
    "padded tensor of fractions": (lambda lm: Layout.padded(torch.tensor([1.5])), "positive integers"),
    "packed fractions": (lambda lm: Layout.packed([1.5]), "got [1.5]"),
    "packed number": (lambda lm: Layout.packed(3), "got 3"),
    "lattice number": (lambda lm: Layout.lattice(1, 4), "such as (8, 8), got 4"),
    "lattice of nothing": (lambda lm: Layout.lattice(1, ()), "got ()"),
    "lattice -1": (lambda lm: Layout.lattice(1, (2, -1)), "axis 1 is a whole number"),
    "pack lists": (lambda lm: pack([[1, 2], [3]]), "pack: sequence 0: expected a Tensor, got a list"),
    "pack numpy": (lambda lm: pack([np.zeros(3)]), "got a ndarray"),
    "pack tensor": (lambda lm: pack(torch.zeros(3, 4)), "a list of tensors, one per sequence, got a Tensor"),
    "pack number": (lambda lm: pack(3), "got a int"),
    "pack widths": (lambda lm: pack([torch.zeros(3, 2), torch.zeros(3, 4)]), "sequence 1 has shape (3, 4)"),
    "pad a single number": (lambda lm: pad([torch.tensor(3)]), "sequence 0 has shape ()"),
    "pad lists": (lambda lm: pad([[1, 2], [3]]), "pad: sequence 0: expected a Tensor"),
    "build seed": (lambda lm: panformer.build(LM, seed="a"), "build: seed: expected a int, got a str"),
    "load none": (lambda lm: panformer.load(None), "load: the folder: expected a str or Path, got a NoneType"),
    "save none": (lambda lm: panformer.save(None, "x"), "save: expected a Model, got a NoneType"),
    "save dict": (lambda lm: panformer.save({}, "x"), "got a dict"),
    "save another module": (lambda lm: panformer.save(torch.nn.Linear(2, 2), "x"), "got a Linear"),
    "save to none": (lambda lm: panformer.save(lm, None), "save: the folder: expected a str or Path"),
    "save numbers": (lambda lm: panformer.save(lm, "x", {"card": 3}), "save: card: expected a bytes or str"),
    "save elsewhere": (lambda lm: panformer.save(lm, "x", {"../card": b""}), "'../card' is no plain file name"),
    "grow none": (lambda lm: panformer.grow(None, 2), "grow: expected a Model"),
    "grow by none": (lambda lm: panformer.grow(lm, None), "factor is a whole number"),
    "learn_only none": (lambda lm: panformer.learn_only(None, "*"), "learn_only: expected a Module"),
    "learn_only list": (lambda lm: panformer.learn_only(lm, ["*"]), "learn_only: a pattern: expected a str"),
    "optimize dict": (lambda lm: panformer.optimize({}), "optimize: expected a Model, got a dict"),
    "estimate dict": (lambda lm: panformer.estimate({}, 8), "estimate: expected a Model, got a dict"),
    "estimate without end": (lambda lm: panformer.estimate(lm, 10**30), "are more than 1e+12"),
    "estimate text": (lambda lm: panformer.estimate(lm, "8"), "estimate: length: expected a int, got a str"),
    "another layout": (lambda lm: lm(Batch(TOKENS, Layout.dense(1, 3))), "a layout of 1 x 3 tokens does not fit x of"),
    "no layout": (lambda lm: lm(Batch(TOKENS, "x")), "the layout of a batch: expected a Layout, got a str"),
    "start -1": (lambda lm: lm.start(batch=-1), "start: batch is a whole number from 0 on, got -1"),
    "start of text": (lambda lm: lm.start(batch="a"), "got 'a'"),
    "rows of a stream": (lambda lm: lm.chunk(TOKENS.T, lm.start(batch=1)), "the stream has 1 rows, the input 2"),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_types_are_one_line(lm, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, says = CALLS[name]
    with pytest.raises(InputError) as fault:
        call(lm)
    assert says in str(fault.value) and "\n" not in str(fault.value)
    assert not list(tmp_path.iterdir())


def test_what_is_right_still_is():
    assert Layout.dense(0, 5).batch == 0
    assert Layout.padded(np.array([1, 3])).length == 3
    assert Layout.padded(torch.tensor([1, 3], dtype=torch.int32)).seg.dtype == torch.int64
    assert Layout.packed(torch.tensor([1, 3])).length == 4
