"""Cross entropy some rows at a time: the reference and its gradient, targets that are not asked for, what is kept."""

import pytest
import torch

from panformer.ops import backend
from panformer.ops.cross_entropy import IGNORE, cross_entropy, reference
from panformer.ops.kernels import cross_entropy_rows


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(cross_entropy_rows, "LEAST", 0)
    monkeypatch.setattr(cross_entropy_rows, "ROOM", 50)


def drawn(dtype=torch.bfloat16, rows=23, classes=11):
    rng = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(rows, classes, generator=rng)).to(dtype)
    target = torch.randint(0, classes, (rows,), generator=rng)
    target[::5] = IGNORE
    return logits.requires_grad_(), target


def both(run, logits, target):
    out = run(logits, target, 0.0)
    return out, *torch.autograd.grad(out, logits, torch.linspace(0.1, 2, len(out)).to(out.dtype))


def test_rows_are_the_reference():
    logits, target = drawn()
    with backend.record() as used:
        out, slope = both(cross_entropy, logits, target)
    assert used == {"cross_entropy:rows": 1} and out.dtype == torch.float32 and slope.dtype == logits.dtype
    want, right = both(reference, logits.detach().double().requires_grad_(), target)
    torch.testing.assert_close(out.double(), want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(slope.double(), right, rtol=2**-8, atol=1e-6)
    assert (out[::5] == 0).all() and (slope[::5] == 0).all()


def test_what_is_not_asked_for_may_be_no_number():
    logits, target = drawn()
    with torch.no_grad():
        logits[::5] = torch.nan
    out, slope = both(cross_entropy, logits, target)
    assert out.isfinite().all() and (slope[::5] == 0).all() and slope.isfinite().all()


def test_only_the_logits_are_kept():
    logits, target = drawn()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        cross_entropy_rows.run(logits, target)
    assert sum(t.is_floating_point() for t in kept) == 1 and kept[0].data_ptr() == logits.data_ptr()


def test_it_says_what_it_refuses(monkeypatch):
    logits, target = drawn()
    assert "smoothed" in cross_entropy_rows.refuses(logits, target, 0.1)
    assert "bf16" in cross_entropy_rows.refuses(logits.float(), target)
    monkeypatch.setattr(cross_entropy_rows, "LEAST", 1 << 20)
    assert "fewer" in cross_entropy_rows.refuses(logits, target)
