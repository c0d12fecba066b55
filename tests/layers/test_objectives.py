"""Losses against torch's own and against sums over sequences; masking by its statistics."""

import math

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config

D = torch.float64


def build(use, **options):
    return config("objectives", {"use": use, **options}).build()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def joined(parts):
    """The loss of a batch from those of its pieces."""
    return sum(p["loss"] * p["count"] for p in parts) / sum(p["count"] for p in parts)


# ---- classify


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classify_is_cross_entropy(smoothing):
    out, target = torch.randn(6, 4, dtype=D), torch.tensor([0, 3, 1, 1, -100, 2])
    got = build("classify", smoothing=smoothing).loss(out, target)
    torch.testing.assert_close(got["loss"], F.cross_entropy(out, target, label_smoothing=smoothing))
    assert got["count"] == 5


def test_classify_takes_tokens_and_passes_pairs_on():
    objective, out, target = build("classify"), torch.randn(2, 3, 4, dtype=D), torch.randint(4, (2, 3))
    target[0, 2] = -100
    want = F.cross_entropy(out.flatten(0, 1), target.flatten())
    torch.testing.assert_close(objective.loss(out, target)["loss"], want)
    assert objective.corrupt((out, target), Layout.dense(2, 3), rng()) == (out, target)


def test_nothing_asked_is_no_loss():
    out = torch.randn(2, 4, dtype=D, requires_grad=True)
    got = build("classify").loss(out, torch.full((2,), -100))
    got["loss"].backward()
    assert got["loss"] == 0
    assert got["count"] == 0
    assert not out.grad.any()


def test_targets_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="class 4 is outside the 4"):
        build("classify").loss(torch.zeros(2, 4), torch.tensor([1, 4]))
    with pytest.raises(InputError, match=r"answers \(2, 4\) do not fit targets \(3,\)"):
        build("classify").loss(torch.zeros(2, 4), torch.tensor([1, 2, 3]))
    for use in ("regress", "forecast"):
        with pytest.raises(InputError, match=r"\(3, 1\) do not fit targets \(3,\)"):
            build(use).loss(torch.zeros(3, 1), torch.zeros(3))


# ---- regress, forecast


def test_regress_is_torch():
    out, target = torch.randn(2, 20, 3, dtype=D)
    peers = {
        "mse": F.mse_loss(out, target),
        "mae": F.l1_loss(out, target),
        "huber": F.huber_loss(out, target, delta=0.7),
    }
    for kind, want in peers.items():
        got = build("regress", kind=kind, delta=0.7).loss(out, target)
        torch.testing.assert_close(got["loss"], want)
        assert got["count"] == 60


@pytest.mark.parametrize("kind", ["mse", "mae"])
def test_forecast_leaves_out_unknown_targets(kind):
    out, target = torch.randn(2, 4, 5, 2, dtype=D)
    out.requires_grad_()
    hole = torch.rand(4, 5, 2) < 0.3
    got = build("forecast", kind=kind).loss(out, target.masked_fill(hole, torch.nan))
    off = (out - target)[~hole]
    torch.testing.assert_close(got["loss"], off.square().mean() if kind == "mse" else off.abs().mean())
    assert got["count"] == (~hole).sum()
    got["loss"].backward()
    assert out.grad.isfinite().all()
    assert not out.grad[hole].any()


@pytest.mark.parametrize("use", ["regress", "forecast"])
def test_micro_batches_weighted_by_count_are_the_batch(use):
    objective = build(use)
    out, target = torch.randn(2, 7, 3, 2, dtype=D)
    if use == "forecast":
        target[2, 1] = torch.nan
    parts = [objective.loss(o, t) for o, t in zip(out.split([2, 4, 1]), target.split([2, 4, 1]))]
    torch.testing.assert_close(joined(parts), objective.loss(out, target)["loss"])


# ---- language


def test_causal_lm_asks_for_the_next_token():
    ids = torch.tensor([[5, 6, 7, 8]])
    shown, target = build("causal_lm").corrupt(ids, Layout.dense(1, 4), rng())
    assert torch.equal(shown, ids)
    assert target.tolist() == [[6, 7, 8, -100]]
    assert ids.tolist() == [[5, 6, 7, 8]], "the input is not written to"


@pytest.mark.parametrize("form", ["packed", "right", "left"])
def test_causal_lm_is_the_sum_over_documents(form):
    objective, table = build("causal_lm"), torch.randn(9, 9, dtype=D)  # a bigram model: token -> logits
    documents = [torch.randint(9, (n,)) for n in (5, 1, 7, 2)]
    apart = []
    for d in documents:
        shown, target = objective.corrupt(d[None], Layout.dense(1, len(d)), rng())
        apart.append(objective.loss(table[shown], target))
    ids, at = pack(documents) if form == "packed" else pad(documents, side=form)
    ids[~at.valid] = 3  # junk that is a real token
    shown, target = objective.corrupt(ids, at, rng())
    got = objective.loss(table[shown], target)
    torch.testing.assert_close(got["loss"], joined(apart))
    assert got["count"] == sum(len(d) - 1 for d in documents)


def test_masked_lm_masks_as_often_as_it_says():
    n, rate, masked, swapped, vocab = 200_000, 0.15, 0.8, 0.1, 50
    ids = torch.randint(3, vocab - 1, (10, n // 10), generator=rng(1))
    shown, target = build("masked_lm", vocab=vocab, mask=vocab - 1).corrupt(ids, Layout.dense(10, n // 10), rng())
    chosen = target != -100
    assert torch.equal(target[chosen], ids[chosen])
    assert torch.equal(shown[~chosen], ids[~chosen])
    picked = int(chosen.sum())
    hidden = shown[chosen] == vocab - 1
    kept = shown[chosen] == ids[chosen]
    other = ~hidden & ~kept
    _near(picked, n, rate)
    _near(int(hidden.sum()), picked, masked + swapped / vocab)
    _near(int(kept.sum()), picked, 1 - masked - swapped + swapped / vocab)
    _near(int(other.sum()), picked, swapped * (vocab - 2) / vocab)
    assert set(shown[chosen][other].unique().tolist()) == set(range(vocab - 1)), "any id may be swapped in"


def _near(count, n, p):
    """Within five standard deviations of a binomial count."""
    assert abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p)), f"{count} of {n}, expected {n * p:.0f}"


def test_masked_lm_leaves_special_ids_and_padding_alone():
    ids = torch.randint(10, (4, 50))
    at = Layout.padded([50, 30, 20, 1])
    objective = build("masked_lm", vocab=10, mask=9, special=(0, 1), rate=1.0)
    shown, target = objective.corrupt(ids, at, rng())
    fixed = (ids == 0) | (ids == 1) | (ids == 9) | ~at.valid
    assert torch.equal(target != -100, ~fixed)
    assert torch.equal(shown[fixed], ids[fixed])


def test_masked_lm_is_drawn_from_its_generator_alone():
    ids, at, objective = torch.randint(9, (4, 50)), Layout.dense(4, 50), build("masked_lm", vocab=10, mask=9)
    first, again, other = (objective.corrupt(ids, at, rng(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_masked_lm_loss_is_a_mean_over_the_chosen():
    objective, out = build("masked_lm", vocab=10, mask=9), torch.randn(4, 50, 10, dtype=D)
    _, target = objective.corrupt(torch.randint(9, (4, 50)), Layout.dense(4, 50), rng())
    got = objective.loss(out, target)
    torch.testing.assert_close(got["loss"], F.cross_entropy(out.flatten(0, 1), target.flatten()))
    parts = [objective.loss(o, t) for o, t in zip(out, target)]
    torch.testing.assert_close(joined(parts), got["loss"])


def test_masked_lm_refuses_impossible_options():
    with pytest.raises(InputError, match="mask id 10 is outside"):
        build("masked_lm", vocab=10, mask=10)
    with pytest.raises(InputError, match="more than all"):
        build("masked_lm", vocab=10, mask=9, masked=0.8, swapped=0.3)
    with pytest.raises(InputError, match="ids \\(B, T\\)"):
        build("masked_lm", vocab=10, mask=9).corrupt(torch.zeros(1, 2, 2).long(), Layout.dense(1, 2), rng())


@pytest.mark.parametrize("use", ["classify", "regress", "forecast"])
def test_losses_are_wide_in_half_precision(use):
    """10,000 equal terms: a mean in bfloat16 keeps eight bits of them."""
    out = torch.full((10_000, 3), 0.3, dtype=torch.bfloat16)
    target = torch.ones(10_000, dtype=torch.int64) if use == "classify" else torch.zeros(10_000, 3)
    loss = build(use).loss(out, target)["loss"]
    assert loss.dtype == torch.float32
    want = math.log(3) if use == "classify" else out[0, 0].item() ** 2
    assert loss.item() == pytest.approx(want, rel=1e-5)
