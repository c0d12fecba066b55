"""Less memory for the backward pass: the same gradients in pieces and made again, the right ones on average in 8 bits."""

import gc

import pytest
import torch
from torch.utils._pytree import tree_leaves

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.measure.cost import of_step
from panformer.train import stream
from panformer.train.loop import Train, compute, fit
from panformer.train.low_bit import low_bit
from panformer.train.recompute import layers_again, tokens_again

from .test_loop import SPEC as MOE
from .test_loop import setup

GOAL = config("objectives", "causal_lm").build()
MIXERS = {
    "attention": {"use": "attention", "heads": 2},
    "windowed": {"use": "attention", "heads": 2, "kv_heads": 1, "window": 5, "position": "rope"},
    "biased": {"use": "attention", "heads": 2, "position": "t5", "bias": True},
    "mamba": {"use": "mamba", "state": 4},
    "lstm": {"use": "lstm"},
    "linear": {"use": "linear_attention", "heads": 2},
    "rwkv": {"use": "rwkv"},
}


def build(mixer="attention", residual="pre", tie=True, layers=2, width=16, vocab=20, **channel):
    tree = {
        "width": width, "causal": True, "residual": residual, "embed": {"use": "tokens", "vocab": vocab},
        "schedule": [{"repeat": layers, "mixer": MIXERS[mixer], "channel": {"use": "mlp", **channel}}],
        "head": {"use": "lm", "vocab": vocab, "tie": tie},
    }  # fmt: skip
    return panformer.build(tree, seed=0).double()


def tokens(batch=2, length=23):
    return torch.randint(0, 20, (batch, length), generator=torch.Generator().manual_seed(1))


def plain(model, x, lengths=None):
    at = Layout.dense(*x.shape) if lengths is None else Layout.padded(lengths, x.shape[1])
    x, target = GOAL.corrupt(x, at, torch.Generator())
    return GOAL.loss(model(x, lengths), target)


def gradients(model, loss):
    return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


def close(one, other, within=1e-12):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=within, atol=within)


# ---- in pieces


@pytest.mark.parametrize("lengths", [None, [23, 9]], ids=["dense", "padded"])
@pytest.mark.parametrize("size", [1, 4, 23, 100])
@pytest.mark.parametrize("mixer", MIXERS)
def test_gradients_in_pieces_are_those_of_the_whole(mixer, size, lengths):
    model, x = build(mixer), tokens()
    want = plain(model, x, lengths)
    at = Layout.dense(*x.shape) if lengths is None else Layout.padded(lengths, 23)
    got = stream.losses(model, GOAL, x, lengths, GOAL.corrupt(x, at, torch.Generator())[1], size)
    close([got["loss"], got["count"]], [want["loss"], want["count"]])
    close(gradients(model, got["loss"]), gradients(model, want["loss"]), 1e-10)


@pytest.mark.parametrize(("residual", "tie"), [("post", False), ("parallel", True), ("sandwich", True)])
def test_pieces_under_other_residuals_and_heads(residual, tie):
    model, x = build(residual=residual, tie=tie), tokens()
    target = GOAL.corrupt(x, Layout.dense(*x.shape), torch.Generator())[1]
    got = stream.losses(model, GOAL, x, None, target, 5)["loss"]
    close(gradients(model, got), gradients(model, plain(model, x)["loss"]), 1e-10)


@pytest.mark.parametrize("residual", ["pre", "two_hop"])
def test_pieces_carry_what_norms_keep(residual):
    tree = {"width": 16, "causal": True, "residual": residual, "norm": "timestep", "head": {"use": "lm", "vocab": 20}}
    layer = {"mixer": {"use": "megalodon", "heads": 1, "chunk": 6}, "channel": "mlp"}
    embed = {"use": "tokens", "vocab": 20}
    model, x = (
        panformer.build({**tree, "embed": embed, "schedule": [{"repeat": 2, **layer}]}, seed=0).double(),
        tokens(),
    )
    target = GOAL.corrupt(x, Layout.dense(*x.shape), torch.Generator())[1]
    got = stream.losses(model, GOAL, x, None, target, 5)["loss"]
    close(gradients(model, got), gradients(model, plain(model, x)["loss"]), 1e-10)


def test_frozen_parameters_stay_without_gradients():
    model, x = build(), tokens()
    for p in model.trunk.layers[0].parameters():
        p.requires_grad_(False)
    target = GOAL.corrupt(x, Layout.dense(*x.shape), torch.Generator())[1]
    got = stream.losses(model, GOAL, x, None, target, 5)["loss"]
    close(gradients(model, got), gradients(model, plain(model, x)["loss"]), 1e-10)


def test_what_cannot_go_in_pieces_is_refused_by_name():
    def spec(**change):
        base = {**MOE, "dropout": 0.0, "schedule": [{"mixer": MIXERS["attention"], "channel": "mlp"}]}
        return panformer.build({**base, **change}, seed=0)

    x = tokens()
    with pytest.raises(InputError, match="dropout"):
        stream.losses(spec(dropout=0.1).train(), GOAL, x, None, x, 4)
    with pytest.raises(InputError, match="no streaming form"):
        stream.losses(spec(causal=False), GOAL, x, None, x, 4)
    with pytest.raises(InputError, match="charges the loss"):
        stream.losses(spec(schedule=[{"mixer": MIXERS["attention"], "channel": {"use": "moe", "experts": 2}}]).train(),
                      GOAL, x, None, x, 4)  # fmt: skip
    with pytest.raises(InputError, match="norm batch looks at the whole batch"):
        stream.losses(spec(norm="batch").train(), GOAL, x, None, x, 4)
    with pytest.raises(InputError, match="token by token"):
        stream.losses(spec(head={"use": "classify", "classes": 3}), GOAL, x, None, x, 4)
    with pytest.raises(InputError, match="several sequences"), stream.streamed(model := spec(), 4):
        model(panformer.pack([x[0], x[1]]))
    with pytest.raises(InputError, match="at least 1 token"):
        stream.losses(spec(), GOAL, x, None, x, 0)


def test_the_state_is_had_without_the_answer():
    """`advance` of a mixer is the state of its `chunk`."""
    for mixer in MIXERS:
        part = build(mixer).trunk.layers[0].mixer
        x, at = torch.randn(2, 9, 16, dtype=torch.float64), Layout.dense(2, 9)
        one = two = part.start(2, x)
        for a, b in ((0, 4), (4, 9)):
            one = part.chunk(x[:, a:b], at.span(a, b), one)[1]
            two = part.advance(x[:, a:b], at.span(a, b), two)
        close(tree_leaves(two), tree_leaves(one))


def test_pieces_take_less_memory():
    """With a vocabulary that is large against the width, as real ones are."""
    model, x = build(layers=3, vocab=640), tokens(1, 512)
    target = GOAL.corrupt(x, Layout.dense(*x.shape), torch.Generator())[1]

    def whole():
        plain(model, x)["loss"].backward()

    def pieces():
        stream.losses(model, GOAL, x, None, target, 32)["loss"].backward()

    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    assert 3 * of_step(pieces, x).peak < of_step(whole, x).peak


# ---- made again


@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("swap", [False, True])
def test_gradients_made_again_are_the_same(tmp_path, kept, swap):
    model, x = build(), tokens()
    with tokens_again(model, kept, tmp_path if swap else None):
        loss = plain(model, x)["loss"]
        assert bool(list(tmp_path.iterdir())) == (swap and kept > 0)
    close(gradients(model, loss), gradients(model, plain(model, x)["loss"]))
    del loss
    gc.collect()
    assert not list(tmp_path.iterdir()), "files are left"


def test_dropout_is_the_same_when_made_again():
    model, x = build(dropout=0.3).train(), tokens()
    found = []
    for kept in (0.0, 0.5):  # the first part draws as it does alone
        torch.manual_seed(0)
        with tokens_again(model, kept):
            loss = plain(model, x)["loss"]
        found.append(gradients(model, loss))
        assert all(g.isfinite().all() for g in found[-1])
    torch.manual_seed(0)
    close(found[0], gradients(model, plain(model, x)["loss"]))


def test_layers_made_again_are_the_same_to_the_bit():
    model, x = build(), tokens()
    with layers_again(model):
        loss = plain(model, x)["loss"]
    for a, b in zip(gradients(model, loss), gradients(model, plain(model, x)["loss"])):
        assert torch.equal(a, b)


def test_memory_and_work_follow_the_share_of_tokens(tmp_path):
    model, x = build(layers=1), tokens(1, 200)

    def cost(kept, swap=None):
        def work():
            with tokens_again(model, kept, swap):
                return model(x)

        def step():
            work().sum().backward()

        return of_step(work, x).saved, of_step(step, x).flops

    none, half, whole = cost(0.0), cost(0.5), cost(1.0)
    assert abs((half[0] - none[0]) / (whole[0] - none[0]) - 0.5) < 0.02
    assert abs((half[1] - whole[1]) / (none[1] - whole[1]) - 0.5) < 0.05  # parts are joined as well
    assert cost(0.5, tmp_path)[0] < half[0] - 0.4 * (whole[0] - none[0])


def test_what_cannot_be_taken_apart_is_refused():
    with pytest.raises(InputError, match="charges a loss"), tokens_again(model := panformer.build(MOE, seed=0)):
        model.train()(tokens())
    with pytest.raises(InputError, match="share of the tokens"), tokens_again(model, 1.5):
        pass
    counting = panformer.build({**MOE, "norm": "batch"}, seed=0)
    with pytest.raises(InputError, match="norm batch would count every batch twice"), layers_again(counting):
        pass
    assert "forward" not in vars(model.trunk.each()[0].channel), "the channel is as it was"


# ---- in few bits


def test_answers_are_exact_and_gradients_right_on_average():
    torch.manual_seed(0)
    w = torch.randn(40, 30, dtype=torch.float64, requires_grad=True)
    x, g = torch.randn(64, 40, dtype=torch.float64), torch.randn(64, 30, dtype=torch.float64)
    want = x.T @ g

    def mean(draws, **how):
        total = torch.zeros_like(want)
        for _ in range(draws):
            with low_bit([w], **how):
                y = x @ w
            assert torch.equal(y, x @ w)
            total += torch.autograd.grad(y, w, g)[0]
        return float((total / draws - want).norm() / want.norm())

    one, many, nearest = mean(1), mean(400), mean(400, rounding="nearest")
    assert 1e-4 < one < 2e-2
    assert many < 0.1 * one, "noise of independent draws falls as the root of their number"
    assert nearest > 3 * many, "what is always rounded the same way does not average out"
    assert mean(1, bits=4) > 5 * one


def test_one_storage_is_kept_once_and_memory_falls():
    model, x = build().float(), tokens(4, 64)
    target = GOAL.corrupt(x, Layout.dense(*x.shape), torch.Generator())[1]

    def held(bits):
        def work():
            with low_bit(model.parameters()) if bits else torch.enable_grad():
                return model(x)

        return of_step(work, x).saved

    assert held(8) < 0.5 * held(None)
    with low_bit(model.parameters()):
        loss = GOAL.loss(model(x), target)["loss"]
    few, exact = gradients(model, loss), gradients(model, plain(model, x)["loss"])
    for a, b in zip(few, exact):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99


def test_views_and_tensors_written_over_come_back_as_they_were():
    """A transposed, a sliced and an expanded view; and a buffer that is used again with other values."""
    torch.manual_seed(0)
    base = torch.randn(12, 16, dtype=torch.float64)
    for view in (base.T, base[2:5, 3:], base[:, :1].expand(12, 16), base[0, 5]):
        w = torch.ones_like(view, requires_grad=True)
        with low_bit(group=None):
            y = (w * view).sum()
        assert (torch.autograd.grad(y, w)[0] - view).abs().max() < 0.05
    w = torch.ones(64, requires_grad=True)
    with low_bit():
        outs = []
        for i in range(5):
            outs.append((w * torch.full((64,), float(i))).sum())  # each made where the last one was
    assert [float(torch.autograd.grad(o, w)[0][0]) for o in outs] == [0, 1, 2, 3, 4]
    with low_bit():
        masked = (w * torch.full((64,), -torch.inf)).sum()
    assert torch.autograd.grad(masked, w)[0].isinf().all()
    for wrong in ({"bits": 9}, {"group": 0}):
        with pytest.raises(InputError), low_bit(**wrong):
            pass


# ---- in the loop


@pytest.mark.parametrize("how", [{"activations": "recompute", "kept": 0.5}, {"activations": "stream", "piece": 5}])
def test_the_loop_trains_the_same(how):
    losses = []
    for options in ({}, how):
        _, objective, batches, train = setup(**options)
        model = build().float()
        losses.append(fit(model, objective, batches, train).losses)
    torch.testing.assert_close(torch.tensor(losses[1]), torch.tensor(losses[0]), rtol=1e-4, atol=1e-4)


def test_the_loop_trains_with_eight_bits():
    found = []
    for activations in ("exact", "int8"):
        _, objective, batches, train = setup(activations=activations, steps=40)
        model = build().float()
        found.append(fit(model, objective, batches, train).losses)
    assert found[0][0] == found[1][0], "the first answer is exact"
    assert found[0][1:] != found[1][1:] and abs(found[0][-1] - found[1][-1]) < 0.05


def test_streaming_works_under_autocast():
    model, piece = build().float(), next(iter(setup()[2]))
    how = Train(activations="stream", piece=4)
    grads = []
    for options in (None, how):
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute(model, GOAL, piece, torch.Generator(), options)[0]["loss"]
        grads.append(gradients(model, loss))
    for a, b in zip(*grads):
        assert (a - b).norm() < 0.05 * a.norm() + 1e-4
