"""Progressive batch norms that linear maps take over: the same answers in float64, and models that are left as they are."""

from __future__ import annotations

import pytest
import torch

from panformer import build
from panformer.channels.mlp import Mlp
from panformer.core.layout import pack
from panformer.model import io
from panformer.runtime import optimize
from panformer.runtime.fuse import fused

MIXERS = {
    "attention": {"use": "attention", "heads": 2},
    "linear": {"use": "simplified_linear_attention", "heads": 2, "conv": 3},
}
TOKENS = torch.arange(24).view(2, 12) % 11


def trained(steps=3, calls=5, **layer):
    """A model whose norms have seen a few batches, with offsets and factors that are not those of the start."""
    tree = {"mixer": MIXERS["attention"], "channel": "glu", **layer}
    model = build(
        {
            "width": 16, "causal": True, "embed": {"use": "tokens", "vocab": 11}, "position": "rope",
            "norm": {"use": "progressive_batch", "steps": steps}, "schedule": [{"repeat": 2, "pattern": [tree]}],
            "head": {"use": "lm", "vocab": 11},
        },
        seed=0,
    ).double()  # fmt: skip
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.3 * torch.randn_like(p)
        for _ in range(calls):
            model(torch.randint(0, 11, (4, 12)))
    return model


def call(model):
    return model(TOKENS)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("channel", ["mlp", "glu"])
def test_a_folded_model_answers_alike_without_its_norms(mixer, channel, tmp_path):
    model = trained(mixer=MIXERS[mixer], channel=channel).eval()
    out, paths = fused(model, call)
    assert len(paths) == 4 and not [n for n, _ in out.named_modules() if "norms" in n and "batch" in n]
    with torch.no_grad():
        torch.testing.assert_close(call(out), call(model), rtol=1e-11, atol=1e-11)
        for batch in (pack([torch.arange(5), torch.arange(9)]),):
            valid = batch.at.valid
            torch.testing.assert_close(out(batch)[valid], model(batch)[valid], rtol=1e-11, atol=1e-11)
    io.save(out, tmp_path / "m")
    with torch.no_grad():
        torch.testing.assert_close(call(io.load(tmp_path / "m").eval()), call(out))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: trained(steps=100), id="layer normalisation is not yet gone"),
        pytest.param(lambda: trained(residual="post"), id="the stream itself is normalised"),
        pytest.param(lambda: trained(channel="polynomial", norm="layer"), id="no such norm"),
    ],
)
def test_others_are_left_as_they_are(model):
    made = model()
    out, paths = fused(made, call)
    assert out is made and not paths and made.training


def test_a_norm_that_is_read_elsewhere_too_stays(monkeypatch):
    """A network that answers a share of its input beside what its maps make of it."""
    plain = Mlp.forward
    monkeypatch.setattr(Mlp, "forward", lambda self, x, at, shared=None: plain(self, x, at, shared) + 0.1 * x)
    model = trained(channel="mlp").eval()
    out, paths = fused(model, call)
    assert out is model and not paths


def test_optimize_folds_first_and_says_so():
    model = trained().float().eval()
    done = optimize(model, "latency", forms=["packed"])
    assert done.ledger[0].use == "folded" and done.ledger[0].maps == 4 and done.ledger[0].before_us > 0
    assert done.error < 1e-4
    with torch.no_grad():
        torch.testing.assert_close(call(done.model), call(model), rtol=1e-3, atol=1e-4)
