"""Two passes that must agree: the loss by hand, its limits, and both passes in the loop."""

import pytest
import torch
from torch.nn import functional as F

from panformer.claims.tasks._base import Batch
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.model.build import build
from panformer.train.loop import Train, compute

SPEC = {
    "width": 8,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 11},
    "position": "rope",
    "schedule": [{"mixer": {"use": "attention", "heads": 2}, "channel": {"use": "random_experts", "experts": 2}}],
    "head": {"use": "lm", "vocab": 11},
}


def goal(**options):
    return config("objectives", {"use": "consistency", **options}).build()


def dense(spec):
    layer = {**spec["schedule"][0], "channel": "mlp"}
    return {**spec, "schedule": [layer]}


def answers(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_loss_by_hand():
    out, target = answers(4, 5, 7), torch.randint(7, (2, 5))
    target[0, 3:] = -100
    got = goal(alpha=3.0).loss(out, target)
    asked = target != -100
    one, two = (x[asked].log_softmax(-1) for x in out.chunk(2))
    ce = F.nll_loss(one, target[asked]) + F.nll_loss(two, target[asked])
    kl = [F.kl_div(b, a, reduction="batchmean", log_target=True) for a, b in ((one, two), (two, one))]
    torch.testing.assert_close(got["loss"], ce + 1.5 * sum(kl), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got["agreement"], sum(kl), rtol=1e-12, atol=1e-12)
    assert got["count"] == asked.sum()


def test_equal_passes_cost_twice_the_plain_loss():
    out, target = answers(2, 5, 7), torch.randint(7, (2, 5))
    got = goal(alpha=9.0).loss(torch.cat([out, out]), target)
    plain = config("objectives", "causal_lm").build().loss(out, target)["loss"]
    torch.testing.assert_close(got["loss"], 2 * plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lengths", [None, [9, 4, 6]])
def test_the_loop_reads_every_batch_twice(lengths):
    """A dense model answers both passes alike, ragged batches too: twice its plain loss and nothing to agree on."""
    model = build(dense(SPEC), seed=0).double()
    batch = Batch(torch.randint(11, (3, 9)), None if lengths is None else torch.tensor(lengths))
    rng = torch.Generator()
    both, _ = compute(model, goal(), batch, rng)
    once, _ = compute(model, config("objectives", "causal_lm").build(), batch, rng)
    torch.testing.assert_close(both["loss"], 2 * once["loss"], rtol=1e-10, atol=1e-12)
    assert both["agreement"].abs() < 1e-12
    assert both["count"] == once["count"]


def test_random_experts_disagree_in_training_only():
    model, batch = build(SPEC, seed=0), Batch(torch.randint(11, (3, 9)))
    assert compute(model.train(), goal(), batch, torch.Generator())[0]["agreement"] > 1e-4
    assert compute(model.eval(), goal(), batch, torch.Generator())[0]["agreement"].abs() < 1e-6


def test_what_has_no_two_passes_is_refused():
    with pytest.raises(InputError, match="already reads every batch 2 times"):
        goal(of="consistency")
    with pytest.raises(InputError, match="asks for numbers"):
        goal(of="regress").loss(answers(4, 2), answers(2, 2))
    with pytest.raises(InputError, match="4 answers do not fit two passes over 4"):
        goal().loss(answers(4, 5, 7), torch.zeros(4, 5, dtype=torch.int64))
    model, batch = build(dense(SPEC), seed=0), Batch(torch.randint(11, (3, 9)))
    with pytest.raises(InputError, match="reads every batch 2 times"):
        compute(model, goal(), batch, torch.Generator(), Train(steps=1, activations="stream"))


def test_asked_of_a_layout():
    ids = torch.randint(11, (2, 6))
    x, target = goal().corrupt(ids, Layout.dense(2, 6), torch.Generator())
    assert torch.equal(x, ids) and torch.equal(target[:, :-1], ids[:, 1:])


def test_draws_cannot_be_made_again_in_pieces():
    model, plain = build(SPEC, seed=0).train(), config("objectives", "causal_lm").build()
    batch, how = Batch(torch.randint(11, (3, 9))), Train(steps=1, activations="stream")
    with pytest.raises(InputError, match="random_experts would draw other experts in every pass"):
        compute(model, plain, batch, torch.Generator(), how)
    assert compute(model.eval(), plain, batch, torch.Generator(), how)[0]["loss"].isfinite()
