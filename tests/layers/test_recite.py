"""What recite answers comes through one vector, and tells places apart."""

import torch

from panformer.core.layout import Layout
from panformer.core.part import config


def _head(**options):
    return config("heads", {"use": "recite", "classes": 5, "length": 6, **options}).build(8).double().eval()


def test_only_the_vector_that_is_kept_is_read():
    head, x = _head(), torch.randn(3, 7, 8).double().requires_grad_()
    out = head(x, Layout.dense(3, 7))
    assert out.shape == (3, 6, 5)
    out.sum().backward()
    assert (x.grad[:, :-1] == 0).all() and (x.grad[:, -1] != 0).any(-1).all()


def test_places_differ_by_the_waves_alone():
    head, x = _head(), torch.randn(2, 4, 8).double()
    out = head(x, Layout.dense(2, 4))
    t = torch.arange(6).double()[:, None] * 10_000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    wave = torch.stack([t.sin(), t.cos()], -1).flatten(1)
    torch.testing.assert_close(out, head.out(x[:, -1:] + wave), rtol=1e-6, atol=1e-6)


def test_a_vector_can_hold_a_short_sequence():
    from panformer.claims import registry

    batch = registry.task({"use": "compression", "vocab": 4, "length": 6}).batch(torch.Generator().manual_seed(0), 9)
    assert torch.equal(batch.x[:, :-1], batch.y) and (batch.x[:, -1] == 4).all() and batch.y.max() < 4
