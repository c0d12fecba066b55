"""Attention made sparse after training: nothing is lost where nothing is left out, budgets hold, and bounds bound."""

import pytest
import torch

import panformer
from panformer.claims.facts import sparse_frontier
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.score import Causal, Same
from panformer.ops.attend import attend
from panformer.runtime.sparsify import LAST, Sparse, bounds, sparsified, tokens

UNITS = ("blocks", "lines", "pages", "tokens")
CAUSAL, BORDER, LENGTH = Same() & Causal(), 64, 72


def kept(unit, share, border=BORDER, length=LENGTH):
    """(pairs left, pairs seen before), each (H, T, S) of one row, in the phase that the unit serves."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 2, length, 8, generator=rng, dtype=torch.float64) for _ in range(2))
    at = Layout.dense(1, length)
    keep = Sparse(unit, share, border).keep(q, k, CAUSAL, at, at, 0.4)[0]
    sees = CAUSAL.keep(at, at)[0].expand(keep.shape)
    own = slice(0, border) if unit in ("blocks", "lines") else slice(border, None)
    other = slice(border, None) if own.start == 0 else slice(0, border)
    assert (keep[:, other] == sees[:, other]).all(), "the other phase sees what it saw"
    assert not (keep & ~sees).any()
    return keep[:, own], sees[:, own]


@pytest.mark.parametrize("unit", UNITS)
def test_all_of_it_is_full_attention(unit):
    ours, theirs = sparse_frontier.full(0, unit)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    keep, sees = kept(unit, 1.0)
    assert (keep == sees).all()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("share", [0.5, 0.25, 0.125])
def test_about_a_share_is_left(unit, share):
    keep, sees = kept(unit, share)
    assert keep.any(-1).all(), "every query sees something"
    assert 0.6 * share < keep.sum() / sees.sum() < 1.5 * share + 0.07


def test_a_page_has_no_score_above_its_bound():
    assert sparse_frontier.over(0) <= 1e-12 < sparse_frontier.over(0, mean=True)
    one = torch.tensor([[[[1.0, -2.0]]]])
    keys = torch.tensor([[[[1.0, 5.0], [3.0, 4.0], [0.0, 7.0], [2.0, 6.0]]]])
    assert bounds(one, keys).item() == 3 - 2 * 4


def test_what_the_last_queries_weigh_is_not_forgotten():
    weight = torch.full((1, 1, 32, 32), 1e-3)
    weight[..., 7] = 1.0
    stay = tokens(weight, 0.375)[0, 0]
    assert stay[7] and stay[-LAST:].all() and stay.sum() == 12


def test_a_model_is_as_before_when_it_is_over():
    spec = {"width": 16, "causal": True, "embed": {"use": "tokens", "vocab": 9}, "position": "rope",
            "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 4, "kv_heads": 2}}]}  # fmt: skip
    model, x = panformer.build(spec, seed=0).eval(), torch.arange(80).view(2, 40) % 9
    with torch.no_grad():
        before = model(x)
        with sparsified(model, "pages", 0.25, 32):
            within = model(x)
        with sparsified(model, "tokens", 1.0, 32):
            torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x), before)
    assert all(layer.mixer.operator is attend for layer in model.trunk.each())
    torch.testing.assert_close(within[:, :32], before[:, :32], rtol=1e-4, atol=1e-5)
    assert (within[:, 32:] - before[:, 32:]).abs().max() > 1e-3


def test_wrong_calls_are_refused():
    with pytest.raises(InputError, match="a share within"), sparsified(torch.nn.Identity(), "pages", 0.0, 3):
        pass
    at = Layout.padded([4, 2])
    q = torch.zeros(2, 1, 4, 2)
    with pytest.raises(InputError, match="full and of one length"):
        Sparse("pages", 0.5, 2)(q, q, q, CAUSAL, at, at, 1.0)
