"""SwitchHead is its sums written out; with one expert it is attention whose values and outputs have a gate per head."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.route import dispatch, reference, route

WIDTH = 12


def _mixer(use="switch_head", **options):
    torch.manual_seed(0)
    return config("mixers", {"use": use, **options}).build(WIDTH).double()


@pytest.mark.parametrize("top", [1, 2, 3])
def test_is_the_sums_over_heads_and_experts(top):
    m = _mixer(heads=2, experts=3, top=top, causal=True)
    x = torch.randn(1, 7, WIDTH, dtype=torch.float64)
    out = torch.zeros(7, WIDTH, dtype=torch.float64)
    q, k = (f(x)[0].unflatten(-1, (2, -1)) for f in (m.q, m.k))

    def chosen(router, h, t):
        share = torch.sigmoid(router[3 * h : 3 * h + 3] @ x[0, t])
        return [(3 * h + e, share[e]) for e in share.argsort(descending=True)[:top].tolist()]

    for h in range(2):
        v = torch.stack([sum(s * m.v[e] @ x[0, t] for e, s in chosen(m.v_router, h, t)) for t in range(7)])
        for t in range(7):
            weight = (k[: t + 1, h] @ q[t, h] * m.size**-0.5).softmax(0)
            met = weight @ v[: t + 1]
            out[t] += sum(s * m.o[e] @ met for e, s in chosen(m.o_router, h, t))
    torch.testing.assert_close(m(x, Layout.dense(1, 7))[0], out)


def test_one_expert_is_gated_attention():
    m, plain = _mixer(heads=3, experts=1, top=1), _mixer("attention", heads=3, gate="head")
    x, at = torch.randn(2, 9, WIDTH, dtype=torch.float64), Layout.dense(2, 9)
    with torch.no_grad():
        m.v_router.zero_()  # every value counts half
        plain.q.weight.copy_(m.q.weight)
        plain.k.weight.copy_(m.k.weight)
        plain.v.weight.copy_(m.v.flatten(0, 1) / 2)
        plain.o.weight.copy_(m.o.transpose(0, 1).flatten(1))
        plain.gate.weight.copy_(m.o_router)
        plain.gate.bias.zero_()
    torch.testing.assert_close(m(x, at), plain(x, at))


def test_hidden_experts_are_not_chosen_in_training_alone():
    m, x, at = _mixer(heads=2, experts=4, expert_dropout=0.5), torch.randn(2, 9, WIDTH).double(), Layout.dense(2, 9)
    assert torch.equal(m.eval()(x, at), m(x, at))
    assert not torch.equal(m.train()(x, at), m(x, at))
    routes = m._routes(x, m.v_router)
    assert ((routes.weight > 0) & (routes.weight < 1)).all()


def test_experts_may_answer_in_another_width():
    rng = torch.Generator().manual_seed(0)
    x, w = torch.randn(11, 4, generator=rng).double(), torch.randn(3, 6, 4, generator=rng).double()
    routes = route(torch.randn(11, 3, generator=rng).double().softmax(-1), 2)

    def expert(i, y):
        return y @ w[i].T

    torch.testing.assert_close(dispatch(x, routes, expert, 3), reference(x, routes, expert, 3))


def test_more_experts_than_there_are_is_refused():
    with pytest.raises(InputError, match="top 3 is more than 2"):
        _mixer(heads=2, experts=2, top=3)
