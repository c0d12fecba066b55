"""Models on a sphere: parts are their formulas, vectors keep length 1 through training, nGPT-pytorch answers the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import panformer
from panformer.claims.facts import sphere as facts
from panformer.claims.peers import sphere as peers
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.train import loop

AT = Layout.dense(2, 5)
SPEC = peers.spec(16, 2, 2, 258, 24)


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def test_the_stream_moves_by_a_learned_share_and_stays_on_the_sphere():
    c = config("residuals", {"use": "hypersphere", "step": 0.2, "pace": 4.0})
    part = c.part(c, 6, config("norms", "layer"), 2).double()
    branches = [lambda h: torch.tanh(h) * 2, lambda h: h.square() / 3]
    x = unit(torch.randn(2, 5, 6, dtype=torch.float64))
    want = x
    for f in branches:
        want = unit(0.8 * want + 0.2 * unit(f(want)))
    torch.testing.assert_close(part(x, AT, branches), want, rtol=1e-12, atol=1e-12)
    part.a[0].data.fill_(0.1875)  # alpha is 0.2 * 4 * a
    part.a[1].data.zero_()
    want = unit(0.85 * x + 0.15 * unit(branches[0](x)))
    torch.testing.assert_close(part(x, AT, branches), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("along", "axis"), [("inputs", 1), ("outputs", 0)])
def test_a_unit_map_is_a_scaled_map_of_the_weights_it_takes_over(along, axis):
    plain, x = nn.Linear(5, 3).double(), torch.randn(4, 5, dtype=torch.float64)
    c = config("linears", {"use": "unit", "along": along, "scale": 3.0, "pace": 4.0})
    part = c.part(c, 5, 3, True).double()
    part.take(plain)
    want = x @ (plain.weight / plain.weight.norm(dim=axis, keepdim=True)).T
    torch.testing.assert_close(part(x), 3 * want + plain.bias, rtol=1e-6, atol=1e-6)
    part.a.data.mul_(torch.tensor([1.0, 2.0, 0.5]))
    torch.testing.assert_close(part(x), want * torch.tensor([3.0, 6.0, 1.5]) + plain.bias, rtol=1e-6, atol=1e-6)


def test_scores_are_cosines_in_learned_shares_after_the_turn():
    c = config("positions", {"use": "sphere", "pace": 2.0})
    part, turn = c.build(2, 4).double(), config("positions", "rope").build(2, 4)
    part.a.data.uniform_(0.2, 0.9)
    q, k = torch.randn(2, 2, 2, 5, 4, dtype=torch.float64)
    s = 2 * part.a[:, None]
    want = (s * unit(turn.rotate(q, AT))) @ (s * unit(turn.rotate(k, AT))).mT
    torch.testing.assert_close(part.query(q, AT) @ part.key(k, AT).mT, want, rtol=1e-12, atol=1e-12)


def test_what_does_not_turn_cannot_stand_inside():
    with pytest.raises(InputError, match="does not turn"):
        config("positions", {"use": "sphere", "inside": "alibi"}).build(2, 4)


@pytest.mark.parametrize("seed", [0, 1])
def test_weights_and_stream_have_length_one_after_every_step(seed):
    got, want = facts.lengths_after_steps(seed, SPEC)
    assert len(got) == 3 * (2 * (3 * 16 + 16 + 2 * 24 + 24) + 2 * 258 + 3 * 32)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    got, _ = facts.lengths_after_steps(seed, SPEC, hold=False)
    assert (got - 1).abs().max() > 1e-3, "the optimiser moves no length, so nothing was shown"


def test_ngpt_pytorch_answers_the_same():
    pytest.importorskip("nGPT_pytorch")
    for seed in range(2):
        (got,), (want,) = peers.ngpt(seed)
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_a_trained_model_is_saved_and_resumed_on_the_sphere(tmp_path):
    model = panformer.build(SPEC, seed=0)
    x = torch.randint(0, 258, (2, 9))
    F.cross_entropy(model(x).flatten(0, 1), x.flatten()).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    assert max((n - 1).abs().max() for n in facts.weights(model)) > 1e-4
    for part in loop.parts(model):
        part.after_step()
    assert max((n - 1).abs().max() for n in facts.weights(model)) < 1e-6
    panformer.save(model, tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(panformer.load(tmp_path / "m")(x), model(x))


def test_a_model_needs_no_more_steps_than_itself():
    train = {"length": 16, "steps": 6, "rate": 1e-2, "against": 1e-2}
    assert facts.fewer_steps(0, SPEC, {}, **train) == 1
    assert facts.fewer_steps(0, SPEC, {}, **{**train, "rate": 1e-9}) == 0
