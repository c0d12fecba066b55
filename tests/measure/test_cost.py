"""Counts that are known by hand, for code that really runs."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.measure import cost
from panformer.measure.cost import growth, state_bytes, trace
from panformer.measure.operations import FUSED
from panformer.measure.shapes import Shapes
from panformer.ops import backend

FLOAT = 4  # bytes


def test_a_linear_map_is_exact():
    found = trace(nn.Linear(8, 4), torch.randn(5, 8))
    assert found.parameters == 8 * 4 + 4
    assert found.flops == 2 * 5 * 8 * 4
    assert found.bytes == FLOAT * (5 * 8 + 8 * 4 + 4 + 5 * 4)
    assert found.saved == FLOAT * 5 * 8  # its input, for the gradient of the weights
    assert found.peak == FLOAT * (5 * 8 + 5 * 4)


def test_a_chain_saves_each_activation_once():
    found = trace(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(5, 8))
    assert found.flops == 2 * 5 * 8 * 16 + 5 * 16 + 2 * 5 * 16 * 4
    assert found.saved == FLOAT * (5 * 8 + 5 * 16)  # relu and the second map share its output
    assert found.peak == FLOAT * (5 * 8 + 2 * 5 * 16)


def test_tied_parameters_are_counted_once():
    table = nn.Linear(8, 8, bias=False)
    both = nn.Sequential(table, nn.ReLU(), table)
    assert trace(both, torch.randn(2, 8)).parameters == 64
    assert trace(both, torch.randn(2, 8)).flops == 2 * (2 * 2 * 64) + 16


def test_elementwise_operations_count_one_each_and_views_nothing():
    x = torch.randn(3, 4)
    assert trace(lambda x: x * 2 + 1, x).flops == 2 * 12
    assert trace(lambda x: x.mT.reshape(2, 6), x).flops == 0
    assert trace(lambda x: x.mT, x).bytes == 0
    assert trace(lambda x: x.expand(5, 3, 4) + 1, x).bytes == FLOAT * (12 + 60)  # what is expanded is read once


@pytest.mark.parametrize("n", [64, 1024])
def test_a_fourier_transform_costs_n_log_n(n):
    x = torch.randn(3, n, dtype=torch.complex64)
    assert trace(torch.fft.fft, x).flops == 5 * 3 * n * math.log2(n)
    assert trace(torch.fft.rfft, torch.randn(3, n)).flops == 2.5 * 3 * n * math.log2(n)


def test_a_triangular_system_counts_its_products():
    a, b = torch.eye(16).expand(3, 16, 16), torch.randn(3, 16, 5)
    assert trace(lambda b: torch.linalg.solve_triangular(a, b, upper=False), b).flops == 3 * 16 * 16 * 5


def test_attention_counts_both_products():
    b, h, t, s, e, v = 2, 3, 16, 24, 8, 8
    q, k, x = torch.randn(b, h, t, e), torch.randn(b, h, s, e), torch.randn(b, h, s, v)
    fused = trace(F.scaled_dot_product_attention, q, k, x)
    assert fused.flops == 2 * b * h * t * s * (e + v)
    assert fused.bytes < FLOAT * b * h * t * s + FLOAT * (q.numel() + k.numel() + x.numel() + b * h * t * (v + 1))

    plain = trace(lambda q, k, x: (q @ k.mT).softmax(-1) @ x, q, k, x)
    assert plain.flops == fused.flops + FUSED["_softmax"] * b * h * t * s
    assert plain.saved > fused.saved  # the fused form does not keep the weights


def test_grouped_heads_are_counted_as_heads():
    q, k = torch.randn(1, 4, 16, 8), torch.randn(1, 2, 16, 8)
    assert trace(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True), q, k).flops == 2 * 4 * 256 * 16


def test_an_attention_mixer_has_the_cost_of_its_formula():
    width, heads, n = 32, 4, 128
    mixer = panformer.part("mixers", "attention", width, heads=heads, causal=True)
    found = trace(lambda x: mixer(x, Layout.dense(1, n)), torch.randn(1, n, width))
    assert found.flops == 4 * 2 * n * width**2 + 2 * 2 * n * n * width
    assert state_bytes(mixer, width, n) == 2 * n * width * FLOAT + n * 8  # keys, values, positions


def test_a_window_holds_a_state_of_its_own_size():
    mixer = panformer.part("mixers", "attention", 16, heads=2, causal=True, window=8)
    sizes = [state_bytes(mixer, 16, n) for n in (64, 1024)]
    assert sizes[0] == sizes[1] <= 8 * (2 * 16 * FLOAT + 8)


def test_gathering_reads_what_it_returns():
    table = nn.Embedding(1000, 8)
    found = trace(table, torch.tensor([[1, 2, 3]]))
    assert found.bytes == 2 * FLOAT * 3 * 8 + 3 * 8
    assert found.flops == 0


def test_convolution_is_counted():
    found = trace(nn.Conv1d(4, 6, 3, bias=False), torch.randn(2, 4, 10))
    assert found.flops == 2 * 2 * 6 * 8 * 4 * 3


def test_peak_forgets_what_was_freed():
    def chain(x):
        for _ in range(50):
            x = x + 1
        return x

    assert trace(chain, torch.randn(1000)).peak == 3 * 1000 * FLOAT  # the input, one sum and the next


CALLS = {
    "attention": ("attention", {"heads": 4, "causal": True}),
    "window": ("attention", {"heads": 4, "causal": True, "window": 8, "position": "alibi"}),
    "mamba": ("mamba", {"state": 4}),
}


@pytest.mark.parametrize("use", CALLS)
@pytest.mark.parametrize("lengths", [None, [40, 3, 21]], ids=["full", "packed"])
def test_counts_without_memory_are_those_of_a_real_run(use, lengths):
    name, options = CALLS[use]
    mixer, x = panformer.part("mixers", name, 16, **options), torch.randn(1, 64, 16)

    def call(x):
        return mixer(x, Layout.packed(lengths) if lengths else Layout.dense(1, 64))

    assert cost._trace(call, [x], Shapes(), False) == cost._trace(call, [x], None, False)


def test_code_that_branches_on_learned_values_is_counted_for_real():
    moe = panformer.part("channels", "moe", 16, experts=4, top=2, hidden=8)
    n = 32
    found = trace(lambda x: moe(x, Layout.dense(1, n)), torch.randn(1, n, 16))
    experts = 2 * n * 2 * 2 * 16 * 8  # every token, two experts, two maps
    assert experts + 2 * n * 16 * 4 <= found.flops < 1.2 * experts + 2 * n * 16 * 4 + 40 * n * 16
    with Shapes() as shapes, pytest.raises(cost.BRANCHES):
        moe(shapes.of(torch.randn(1, n, 16)), Layout.dense(1, n))


def test_long_inputs_need_no_memory():
    mixer = panformer.part("mixers", "attention", 16, heads=2, position="t5")  # a dense bias: 32 GiB for real
    with backend.only("reference"):
        found = trace(lambda x: mixer(x, Layout.dense(1, 65536)), torch.randn(1, 65536, 16))
    assert found.peak > 2 * 65536**2 * FLOAT
    assert found.flops > 4 * 16 * 65536**2


def test_shapes_forget_a_value_that_was_overwritten():
    with Shapes() as shapes:
        ids = shapes.of(torch.tensor([1, 2, 3]))
        part = ids[:2]
        assert int(ids.max()) == 3
        part.copy_(shapes.of(torch.randn(2)).long())
        with pytest.raises(cost.BRANCHES):
            int(ids.max())


def test_shapes_follow_lengths_and_masks():
    with Shapes() as shapes:
        at = Layout.padded(shapes.of(torch.tensor([3, 5, 1])))
        assert at.lengths.tolist() == [3, 5, 1]
        x = shapes.of(torch.randn(3, 5, 2))
        assert at.to_rows(x).shape == (3, 5, 2)
        assert x[at.valid].shape == (9, 2)


def test_growth_finds_the_exponent_despite_a_fixed_cost():
    sizes = (64, 128, 256)
    assert growth({n: 1000 + 3 * n for n in sizes}) == pytest.approx(1)
    assert growth({n: 1000 + 3 * n**2 for n in sizes}) == pytest.approx(2)
    assert 1.05 < growth({n: n * math.log2(n) for n in sizes}) < 1.3
    assert growth(dict.fromkeys(sizes, 7)) == 0


def test_growth_refuses_what_it_cannot_fit():
    with pytest.raises(InputError, match="three lengths"):
        growth({1: 1, 2: 2})
    with pytest.raises(InputError, match="common ratio"):
        growth({1: 1, 2: 2, 3: 3})


TOKENS = {"use": "tokens", "vocab": 11}
ATTENTION = {"use": "attention", "heads": 2}
CLASSES = {"use": "classify", "classes": 2}
LM = {"use": "lm", "vocab": 11}
SPECS = {
    "tokens": {"embed": TOKENS, "head": LM},
    "values": {"embed": {"use": "frames", "channels": 3}, "head": CLASSES},
    "variates": {
        "embed": {"use": "variates", "length": 24},
        "head": {"use": "forecast", "horizon": 4, "pool": "token"},
    },
    "columns": {"embed": {"use": "columns", "columns": 24}, "head": "regress"},
    "image": {
        "embed": {"use": "patches", "size": 3, "stride": 2, "padding": 1},
        "head": CLASSES,
    },
}


@pytest.mark.parametrize("kind", SPECS)
def test_a_model_of_every_kind_of_input(kind):
    tree = {"width": 16, "schedule": [{"repeat": 2, "mixer": ATTENTION, "channel": "mlp"}], **SPECS[kind]}
    model = panformer.build(tree, seed=0)
    found = cost.of_model(model, 24, channels=5 if kind == "variates" else None)
    tokens = 5 if kind == "variates" else 24
    layers = 2 * (4 * 2 * tokens * 16**2 + 4 * tokens**2 * 16 + 2 * 2 * tokens * 16 * 64)
    assert layers < found.flops < 1.5 * layers
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.state == 0  # it looks both ways
    assert set(found.dump()) == {"parameters", "flops", "bytes", "saved", "peak", "state"}
    assert model.training


@pytest.mark.parametrize("kind", SPECS)
def test_a_model_without_mixers_is_counted_too(kind):
    """Nothing in its layers looks ahead, but a picture cannot be read in pieces."""
    tree = {"width": 16, "schedule": [{"mixer": "identity", "channel": "mlp"}], **SPECS[kind]}
    found = cost.of_model(panformer.build(tree, seed=0), 24, channels=5 if kind == "variates" else None)
    tokens = 5 if kind == "variates" else 24
    assert 2 * 2 * tokens * 16 * 64 < found.flops < 2 * 2 * 2 * tokens * 16 * 64
    assert found.state == 0


def test_an_encoder_is_part_of_the_cost():
    layer = {"mixer": ATTENTION, "channel": "mlp"}
    alone = {"width": 16, "causal": True, "embed": TOKENS, "schedule": [layer], "head": LM}
    encoder = {"width": 16, "embed": TOKENS, "schedule": [layer]}
    both = {**alone, "encoder": encoder, "schedule": [{**layer, "cross": {"use": "cross_attention", "heads": 2}}]}
    one, two = (cost.of_model(panformer.build(tree, seed=0), 16) for tree in (alone, both))
    assert two.flops > 1.9 * one.flops
    assert two.state > one.state > 0


def test_state_of_a_model_that_streams():
    layer = {"mixer": ATTENTION, "channel": "mlp"}
    tree = {
        "width": 16,
        "causal": True,
        "embed": TOKENS,
        "schedule": [{"repeat": 3, **layer}],
        "head": LM,
    }
    found = cost.of_model(panformer.build(tree, seed=0), 32)
    assert found.state == 3 * 32 * (2 * 16 * FLOAT + 8)


def test_channels_must_fit_the_embed():
    tree = {"width": 16, "schedule": [{"mixer": ATTENTION}], **SPECS["values"]}
    with pytest.raises(InputError, match="reads 3 channels, not 4"):
        cost.of_model(panformer.build(tree, seed=0), 8, channels=4)


@pytest.mark.parametrize("limit", ["ROOM", "CALLS"])
def test_a_dear_count_is_made_the_other_way_with_the_same_result(limit, monkeypatch):
    mixer = panformer.part("mixers", "attention", 16, heads=2)

    def call(x):
        return mixer(x, Layout.dense(1, 64))

    want, tried = trace(call, torch.randn(1, 64, 16)), []
    plain = cost._trace
    monkeypatch.setattr(cost, "_trace", lambda f, x, shapes, dear: (tried.append(shapes), plain(f, x, shapes, dear))[1])
    monkeypatch.setattr(cost, limit, 0)
    if limit == "CALLS":
        monkeypatch.setattr(cost, "SHORT", 0)
    assert trace(call, torch.randn(1, 64, 16)) == want
    assert [shapes is None for shapes in tried] == ([True, False] if limit == "ROOM" else [False, True])
