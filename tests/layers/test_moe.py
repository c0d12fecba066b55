"""Experts: what is routed where, what is dropped, what is charged."""

import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config
from panformer.core.shared import Shared
from panformer.ops.route import dispatch, reference, route, turn

WIDTH = 6


def build(**options):
    moe = config("channels", {"use": "moe", "hidden": 5, **options}).build(WIDTH).double()
    with torch.no_grad():
        for p in moe.parameters():
            p.normal_()
    return moe


def run(moe, x, at=None):
    shared = Shared()
    return moe(x, Layout.dense(*x.shape[:2]) if at is None else at, shared), shared


def expert(moe, i, x):
    up = x @ moe.up[i].T + (0 if moe.up_bias is None else moe.up_bias[i])
    return moe.act(up) @ moe.down[i].T + (0 if moe.down_bias is None else moe.down_bias[i])


def draw(*shape):
    return torch.randn(*shape, WIDTH, dtype=torch.float64)


def test_one_expert_is_the_mlp():
    moe, x = build(experts=1, bias=True), draw(2, 7)
    mlp = config("channels", {"use": "mlp", "hidden": 5}).build(WIDTH).double()
    up, down = {"weight": moe.up[0], "bias": moe.up_bias[0]}, {"weight": moe.down[0], "bias": moe.down_bias[0]}
    mlp.up.load_state_dict(up)
    mlp.down.load_state_dict(down)
    torch.testing.assert_close(run(moe, x)[0], mlp(x, Layout.dense(2, 7)), rtol=1e-12, atol=1e-12)


def test_one_gated_expert_is_the_gated_unit():
    moe, x = build(experts=1, gated=True, activation="silu"), draw(2, 7)
    glu = config("channels", {"use": "glu", "hidden": 5}).build(WIDTH).double()
    glu.load_state_dict({f"{n}.weight": getattr(moe, n)[0] for n in ("gate", "up", "down")})
    torch.testing.assert_close(run(moe, x)[0], glu(x, Layout.dense(2, 7)), rtol=1e-12, atol=1e-12)


def test_shared_experts_equal_a_loop_over_tokens():
    """Six experts in three groups, of which two are open; the correction chooses, but does not weigh."""
    options = {"experts": 6, "top": 2, "groups": 3, "top_groups": 2, "scale": 2.5, "shared": 2}
    moe, x = build(use="shared_moe", **options), draw(1, 20)
    moe.correction.copy_(torch.randn(6))
    y, closed = run(moe, x)[0], set()
    for t in range(20):
        s = (moe.router @ x[0, t]).sigmoid()
        wanted = s + moe.correction
        groups = sorted(range(3), key=lambda g: -wanted[2 * g : 2 * g + 2].sum().item())[:2]
        chosen = sorted((e for e in range(6) if e // 2 in groups), key=lambda e: -wanted[e].item())[:2]
        closed.add(sorted(wanted.topk(2).indices.tolist()) != sorted(chosen))
        want = moe.common_down(moe.act(moe.common_gate(x[0, t])) * moe.common_up(x[0, t]))
        for e in chosen:
            h = moe.act(moe.gate[e] @ x[0, t]) * (moe.up[e] @ x[0, t])
            want = want + 2.5 * s[e] / sum(s[c] for c in chosen) * (moe.down[e] @ h)
        torch.testing.assert_close(y[0, t], want, rtol=1e-12, atol=1e-12)
    assert closed == {True, False}, "for some tokens a closed group must hold one of the best two"


def test_all_experts_are_the_dense_mixture():
    moe, x = build(experts=4, top=4), draw(2, 7)
    p = (x @ moe.router.T).softmax(-1)
    want = sum(p[..., i, None] * expert(moe, i, x) for i in range(4))
    torch.testing.assert_close(run(moe, x)[0], want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gate", ["probability", "share"])
def test_two_best_experts_equal_a_loop_over_tokens(gate):
    moe, x = build(experts=5, top=2, gate=gate), draw(1, 20)
    y = run(moe, x)[0]
    for t in range(20):
        p = (moe.router @ x[0, t]).softmax(-1)
        best = p.argsort(descending=True)[:2].tolist()
        total = sum(p[i] for i in best) if gate == "share" else 1
        want = sum(p[i] / total * expert(moe, i, x[0, t]) for i in best)
        torch.testing.assert_close(y[0, t], want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("top", "capacity"), [(1, None), (1, 0.5), (2, 0.7), (3, 1.0)])
def test_dispatch_equals_its_reference_with_gradients(top, capacity):
    moe, x = build(experts=3), draw(30).requires_grad_()
    probability = (x @ moe.router.T).softmax(-1)
    room = None if capacity is None else torch.tensor([math.ceil(capacity * 30 * top / 3)])
    routes = route(probability, top, room)
    ys = [f(x, routes, moe._experts(), 3) for f in (reference, dispatch)]
    torch.testing.assert_close(*ys, rtol=1e-12, atol=1e-12)
    inputs = (x, moe.up, moe.down, moe.router)
    grads = [torch.autograd.grad(y.square().sum(), inputs, retain_graph=True) for y in ys]
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_turn_counts_equal_keys_before():
    key = torch.tensor([2, 0, 2, 2, 1, 0])
    assert turn(key, 4).tolist() == [0, 0, 1, 2, 0, 1]


def test_a_full_expert_turns_later_tokens_away():
    moe = build(experts=2, capacity=0.5)  # ceil(0.5 * 8 / 2) = 2 tokens each
    with torch.no_grad():
        moe.router[:] = 0
        moe.router[0, 0] = 1
    x = draw(1, 8)
    x[..., 0] = 1  # all go to expert 0
    y, shared = run(moe, x)
    assert (y[0].abs().amax(-1) > 0).tolist() == [True] * 2 + [False] * 6
    assert shared.stats["expert_load"].tolist() == [8, 0]
    assert shared.stats["expert_dropped"].tolist() == [6, 0]


def test_a_later_token_never_pushes_out_an_earlier_one():
    moe, x = build(experts=3, top=2, capacity=0.6), draw(1, 30)
    y = run(moe, x)[0]
    for cut in (7, 15, 29):
        other = torch.cat([x[:, :cut], draw(1, 30 - cut)], 1)
        assert torch.equal(run(moe, other)[0][:, :cut], y[:, :cut])


@pytest.mark.parametrize("form", [pack, pad])
def test_capacity_per_sequence_does_not_mix_sequences(form):
    moe = build(experts=3, capacity=0.8, per="sequence")
    xs = [draw(n) for n in (9, 4, 12)]
    x, at = form(xs)
    rows = at.to_rows(run(moe, x, at)[0])
    for x, y in zip(xs, rows):
        torch.testing.assert_close(y[: len(x)], run(moe, x[None])[0][0], rtol=1e-12, atol=1e-12)


def test_room_is_not_rounded_up_by_float_noise():
    moe = build(experts=10, capacity=1.1)
    assert moe._room(torch.tensor([100, 101, 1])).tolist() == [11, 12, 1]  # 1.1 * 100 / 10 is 11.000000000000002


def test_declares_what_couples_tokens():
    assert build(experts=2).couples is None
    assert build(experts=2, capacity=1.0).couples == "batch"
    assert build(experts=2, capacity=1.0, per="sequence").couples == "sequence"


@pytest.mark.parametrize("top", [1, 2])
def test_balance_of_a_uniform_router_is_its_coefficient(top):
    moe, x = build(experts=4, top=top, balance=0.03), draw(1, 40)
    with torch.no_grad():
        moe.router[:] = 0
    _, shared = run(moe, x)
    assert shared.losses["balance"].item() == pytest.approx(0.03)  # P = 1/4 each, so any f gives the same


def test_balance_by_hand():
    moe, x = build(experts=4, balance=0.03), draw(2, 20)
    _, shared = run(moe, x)
    p = (x.flatten(0, 1) @ moe.router.T).softmax(-1)
    f = torch.bincount(p.argmax(-1), minlength=4) / 40
    assert shared.losses["balance"].item() == pytest.approx(0.03 * 4 * (f * p.mean(0)).sum().item())
    assert torch.equal(shared.stats["expert_load"], (f * 40).round().long())
    shared.losses["balance"].backward()
    assert moe.router.grad.abs().sum() > 0


def test_balance_of_shared_experts_by_hand():
    """f counts whom the correction chose, P shares the sigmoids out without it; each sequence is charged by itself."""
    moe, xs = build(use="shared_moe", experts=6, top=2, groups=3, top_groups=2, balance=0.03), [draw(9), draw(4)]
    moe.correction.copy_(2 * torch.randn(6))
    x, at = pad(xs)
    x[~at.valid] = torch.nan
    _, shared = run(moe, x, at)
    found, loads = [], torch.zeros(6, dtype=torch.int64)
    for x in xs:
        s = (x @ moe.router.T).sigmoid()
        open_groups = (s + moe.correction).unflatten(1, (3, 2)).sum(-1).topk(2).indices
        masked = torch.full_like(s, -math.inf)
        for t, groups in enumerate(open_groups.tolist()):
            for e in (2 * g + i for g in groups for i in range(2)):
                masked[t, e] = s[t, e] + moe.correction[e]
        load = torch.bincount(masked.topk(2).indices.flatten(), minlength=6)
        loads += load
        probability = (s / s.sum(-1, keepdim=True)).mean(0)
        found.append(6 * (load / (2 * len(x)) * probability).sum())
    torch.testing.assert_close(shared.losses["balance"], 0.03 * sum(found) / 2, rtol=1e-11, atol=1e-13)
    assert torch.equal(shared.stats["expert_load"], loads)
    shared.losses["balance"].backward()
    assert moe.router.grad.abs().sum() > 0


def test_a_router_that_favours_one_expert_pays_more():
    moe, x = build(experts=4, balance=1.0), draw(1, 200)
    with torch.no_grad():
        moe.router[:] = 0
        moe.router[2, 0] = 8
    x[..., 0] = 1
    assert run(moe, x)[1].losses["balance"].item() == pytest.approx(4, rel=0.01)  # f = P = 1 for one of four


def test_router_z_by_hand():
    moe, x = build(experts=3, router_z=0.2, balance=0.0), draw(2, 8)
    _, shared = run(moe, x)
    want = 0.2 * (x @ moe.router.T).logsumexp(-1).square().mean()
    assert shared.losses.keys() == {"router_z"}
    torch.testing.assert_close(shared.losses["router_z"], want)


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 0.8, "per": "batch", "router_z": 0.1},
        {"capacity": 0.8, "per": "sequence", "router_z": 0.1},
        {"use": "shared_moe", "top": 2, "balance": 0.5},
    ],
)
def test_padding_takes_no_part(options):
    moe = build(experts=3, **options)
    xs = [draw(n) for n in (9, 4)]
    (packed, packed_at), (padded, padded_at) = pack(xs), pad(xs)
    padded[~padded_at.valid] = torch.nan
    a, one = run(moe, packed, packed_at)
    b, two = run(moe, padded, padded_at)
    torch.testing.assert_close(a[0], b[padded_at.valid])
    assert not b[~padded_at.valid].any()
    assert torch.equal(one.stats["expert_load"], two.stats["expert_load"])
    assert one.losses.keys() == two.losses.keys() >= {"balance"}
    for name in one.losses:
        torch.testing.assert_close(one.losses[name], two.losses[name])


def test_layers_add_losses_and_list_loads():
    shared, x = Shared(), draw(1, 10)
    for experts in (3, 2):
        build(experts=experts)(x, Layout.dense(1, 10), shared)
    assert len(shared.stats["expert_load"]) == 5
    assert shared.stats["expert_load"].sum() == 20


@pytest.mark.parametrize("capacity", [1, 2, 3, 12])
def test_equals_transformers_switch(capacity):
    from transformers import SwitchTransformersConfig
    from transformers.models.switch_transformers import modeling_switch_transformers as theirs

    c = SwitchTransformersConfig(
        d_model=WIDTH, d_ff=5, num_experts=4, expert_capacity=capacity, dropout_rate=0.0, dense_act_fn="relu"
    )  # fmt: skip
    peer = theirs.SwitchTransformersSparseMLP(c).double().eval()
    peer.router.dtype = torch.float64  # its config stops at float32
    moe = build(experts=4, activation="relu", per="sequence", capacity=capacity * 4 / 12, balance=1.0, router_z=1.0)
    state = {"router.classifier.weight": moe.router}
    for i in range(4):
        state |= {f"experts.expert_{i}.wi.weight": moe.up[i], f"experts.expert_{i}.wo.weight": moe.down[i]}
    peer.load_state_dict(state)
    x = draw(3, 12)
    y, shared = run(moe, x)
    mask, top, logits = peer.router(x)
    torch.testing.assert_close(y, peer(x), rtol=1e-11, atol=1e-12)
    assert (mask.sum((0, 1)) == shared.stats["expert_load"] - shared.stats["expert_dropped"]).all()
    assert (mask.sum() < 36) == (capacity < 12), "the smaller capacities must drop tokens"
    probability = logits.softmax(-1)
    balance = theirs.load_balancing_loss_func(probability, probability.argmax(-1))
    torch.testing.assert_close(shared.losses["balance"], balance, rtol=1e-6, atol=0)  # theirs counts in float32
    torch.testing.assert_close(shared.losses["router_z"], theirs.router_z_loss_func(logits))
    assert top.shape == (3, 12, 1)


def test_the_router_is_wide_in_half_precision():
    """Two experts whose logits differ by less than bfloat16 can tell apart."""
    moe = build(experts=2).to(torch.bfloat16)
    with torch.no_grad():
        moe.router[:] = 0
        moe.router[:, 0] = torch.tensor([16.0, 16.0])
        moe.router[1, 1] = 2.0**-6
    x = torch.ones(1, 1, WIDTH, dtype=torch.bfloat16)
    logits = moe._logits(x[0])
    assert logits.dtype == torch.float32
    assert logits[0].argmax() == 1
    assert moe(x, Layout.dense(1, 1)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert moe.float()._logits(x[0].float()).dtype == torch.float32


def test_jitter_is_for_training():
    moe, x = build(experts=3, jitter=0.3), draw(1, 10)
    assert torch.equal(moe.eval()._logits(x[0]), moe._logits(x[0]))
    assert not torch.equal(moe.train()._logits(x[0]), moe._logits(x[0]))


def test_more_choices_than_experts_are_refused():
    with pytest.raises(InputError, match="top 3 is more than 2 experts"):
        build(experts=2, top=3)
