"""Every position part is what its paper says, checked by another route than its own code."""

import math

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.score import distance
from panformer.ops.rotary import angles, rotate, waves
from panformer.positions.alibi import slopes
from panformer.positions.t5 import bucket

D = torch.float64


def build(use, heads=4, size=8, **options):
    return config("positions", {"use": use, **options}).build(heads, size).double()


def at_places(*places):
    """One sequence whose tokens stand at these coordinates."""
    pos = torch.tensor(places)
    pos = pos[:, None] if pos.dim() == 1 else pos
    return Layout(torch.zeros(1, len(pos), dtype=torch.int64), pos[None])


# ---- learned


def test_learned_places_come_after_the_rows_that_stand_for_none():
    place = build("learned", 1, 8, length=3, offset=2)
    x = torch.zeros(1, 3, 8, dtype=D)
    torch.testing.assert_close(place.add(x, Layout.dense(1, 3))[0], place.table[2:])
    with pytest.raises(InputError, match="place 3 is past the table of length 3"):
        place.add(torch.zeros(1, 4, 8, dtype=D), Layout.dense(1, 4))


# ---- rope


@pytest.mark.parametrize("options", [{}, {"pairing": "interleaved"}, {"partial": 0.5}, {"base": 100.0}])
@pytest.mark.parametrize(("a", "b", "shift"), [((3,), (9,), (5,)), ((2, 7), (4, 1), (3, 6))])
def test_rope_logits_depend_on_distance_alone(options, a, b, shift):
    rope = build("rope", **options)
    q, k = torch.randn(2, 1, 4, 1, 8, dtype=D)

    def logit(a, b):
        return (rope.rotate(q, at_places(a)) * rope.rotate(k, at_places(b))).sum(-1)

    moved = [tuple(x + s for x, s in zip(p, shift)) for p in (a, b)]
    torch.testing.assert_close(logit(a, b), logit(*moved), rtol=0, atol=2e-6)  # angles are float32
    assert not torch.allclose(logit(a, b), logit(b, a)), "a swap of query and key places must show"


def test_rope_keeps_norms_and_leaves_the_rest():
    x, at = torch.randn(2, 4, 9, 8, dtype=D), Layout.dense(2, 9)
    y = build("rope", partial=0.5).rotate(x, at)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(y[..., 4:], x[..., 4:])
    assert torch.equal(y[:, :, 0], x[:, :, 0]), "position 0 is not turned"


def test_rope_is_stretched_as_llama_3_does():
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    llama3 = {"original_max_position_embeddings": 64, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    for told, options in (
        ({"rope_type": "linear"}, {}),
        ({"rope_type": "llama3", **llama3}, {"trained": 64, "low": 1.0, "high": 4.0}),
    ):
        theirs = {"rope_theta": 500.0, "factor": 8.0, **told}
        c = LlamaConfig(hidden_size=32, num_attention_heads=1, rope_parameters=theirs)
        want, _ = ROPE_INIT_FUNCTIONS[told["rope_type"]](c, None)
        rope = build("rope", size=32, base=500.0, factor=8.0, **options)
        one = torch.cat((torch.ones(16, dtype=D), torch.zeros(16, dtype=D))).expand(1, 1, 1, -1)
        a, b = rope.rotate(one, at_places((1,)))[0, 0, 0].chunk(2)
        torch.testing.assert_close(torch.atan2(b, a), want.double(), rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match=r"rope: low 4\.0 must be under high 4\.0"):
        build("rope", low=4.0)


def test_rope_is_multiplication_by_a_complex_number():
    x, at = torch.randn(1, 1, 7, 8, dtype=D), Layout.dense(1, 7)
    rate = 10_000.0 ** (-torch.arange(4, dtype=D) / 4)
    turn = torch.polar(torch.ones(7, 4, dtype=D), torch.arange(7)[:, None] * rate)
    want = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (4, 2))) * turn).flatten(-2)
    torch.testing.assert_close(build("rope", pairing="interleaved").rotate(x, at), want, rtol=0, atol=1e-6)


def test_rope_pairings_agree_up_to_a_permutation():
    x, at = torch.randn(1, 4, 7, 8, dtype=D), Layout.dense(1, 7)
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    half = build("rope").rotate(x[..., order], at)
    other = build("rope", pairing="interleaved").rotate(x, at)[..., order]
    torch.testing.assert_close(half, other, rtol=0, atol=1e-15)  # halves add and multiply at once, with one rounding


def test_rope_equals_llama():
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb

    base = {"rope_type": "default", "rope_theta": 500.0}
    c = LlamaConfig(hidden_size=32, num_attention_heads=4, rope_parameters=base)
    q, k = torch.randn(2, 2, 4, 11, 8)
    cos, sin = LlamaRotaryEmbedding(c)(q, torch.arange(11)[None])
    rope, at = build("rope", base=500.0).float(), Layout.dense(2, 11)
    for mine, theirs in zip((rope.rotate(q, at), rope.rotate(k, at)), apply_rotary_pos_emb(q, k, cos, sin)):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_rope_interleaved_equals_roformer():
    from transformers.models.roformer import modeling_roformer as theirs

    table = theirs.RoFormerSinusoidalPositionalEmbedding(11, 8)
    table.weight.data = table.create_weight()
    q, k = torch.randn(2, 2, 4, 11, 8)
    want = theirs.RoFormerSelfAttention.apply_rotary_position_embeddings(table.weight[None, None], q, k)
    rope, at = build("rope", pairing="interleaved").float(), Layout.dense(2, 11)
    for mine, other in zip((rope.rotate(q, at), rope.rotate(k, at)), want):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_rope_in_two_dimensions_turns_each_half_by_its_coordinate():
    x = torch.randn(1, 4, 6, 8, dtype=D)
    at, rope = Layout.lattice(1, (2, 3)), build("rope", pairing="interleaved")
    y = rope.rotate(x, at)
    small = build("rope", size=4, pairing="interleaved")
    for part, axis in ((slice(0, 4), 0), (slice(4, 8), 1)):
        line = Layout(at.seg, at.pos[..., axis : axis + 1])
        assert torch.equal(y[..., part], small.rotate(x[..., part], line))


def test_rope_refuses_widths_it_cannot_pair():
    with pytest.raises(InputError, match="paired"):
        build("rope", size=7)
    with pytest.raises(InputError, match="2 coordinates"):
        build("rope", size=6).rotate(torch.zeros(1, 4, 6, 6), Layout.lattice(1, (2, 3)))
    with pytest.raises(InputError, match="pairing"):
        config("positions", {"use": "rope", "pairing": "quarter"})


# ---- added vectors


def test_sinusoidal_is_the_formula():
    y = build("sinusoidal", 1, 6).add(torch.zeros(1, 5, 6, dtype=D), Layout.dense(1, 5, start=3))
    for t in range(5):
        for i in range(3):
            angle = (t + 3) / 10_000 ** (2 * i / 6)
            assert y[0, t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert y[0, t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoidal_needs_an_even_width():
    with pytest.raises(InputError, match="width 7"):
        build("sinusoidal", 1, 7).add(torch.zeros(1, 5, 7), Layout.dense(1, 5))


def test_learned_looks_up_the_position_and_refuses_to_run_over():
    learned = build("learned", 1, 6, length=5)
    y = learned.add(torch.zeros(1, 5, 6, dtype=D), Layout.packed([3, 2]))
    assert torch.equal(y[0], learned.table[[0, 1, 2, 0, 1]])
    with pytest.raises(InputError, match="place 5 is past the table of length 5"):
        learned.add(torch.zeros(1, 6, 6, dtype=D), Layout.dense(1, 6))
    with pytest.raises(InputError, match="place 7"):
        learned.add(torch.zeros(1, 2, 6, dtype=D), Layout.dense(1, 2, start=6))


def test_learned_counts_a_lattice_in_raster_order():
    learned, at = build("learned", 1, 6, length=6), Layout.lattice(2, (2, 3))
    y = learned.add(torch.zeros(2, 6, 6, dtype=D), at)
    assert torch.equal(y, learned.table.expand(2, -1, -1))
    packed = Layout(torch.tensor([[-1, 0, 0, 1, 1, 1]]), torch.zeros(1, 6, 2, dtype=torch.int64))
    y = learned.add(torch.zeros(1, 6, 6, dtype=D), packed)
    assert torch.equal(y[0, 1:], learned.table[[0, 1, 0, 1, 2]])


def test_none_does_nothing():
    none, x = build("none"), torch.randn(1, 4, 5, 8)
    assert none.bias() is None
    assert none.rotate(x, Layout.dense(1, 5)) is x


# ---- biases


def test_alibi_slopes_are_the_published_ones():
    assert slopes(8) == [2.0**-h for h in range(1, 9)]
    assert slopes(16) == pytest.approx([2 ** (-h / 2) for h in range(1, 17)], rel=1e-15)
    assert slopes(12) == pytest.approx([2.0**-h for h in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5], rel=1e-15)
    assert slopes(1) == [2.0**-8]


@pytest.mark.parametrize("heads", [3, 8, 12])
def test_alibi_slopes_equal_bloom(heads):
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, 5), heads, torch.float32)  # slope * key position
    torch.testing.assert_close(torch.tensor(slopes(heads)), theirs[:, 0, 1], rtol=1e-6, atol=0)


def test_alibi_is_a_decay_that_a_linear_mixer_can_run():
    at, bias = Layout.packed([4, 3]), build("alibi").bias()
    u, v = bias.log_decay(at, at)
    torch.testing.assert_close(u[..., :, None] - v[..., None, :], bias.value(at, at))
    step, weight = torch.tensor(slopes(4), dtype=D).neg().exp(), bias.value(at, at).exp()
    for i in range(4):
        for j in range(i + 1):  # what is left of token j after i - j steps of the recurrence
            torch.testing.assert_close(weight[0, :, i, j], step ** (i - j), rtol=1e-7, atol=0)
    assert build("alibi", two_sided=True).bias().log_decay(at, at) is None


def test_alibi_two_sided_is_the_distance():
    at = Layout.dense(1, 5)
    value = build("alibi", two_sided=True).bias().value(at, at)
    for i in range(5):
        for j in range(5):
            torch.testing.assert_close(value[0, :, i, j], -abs(i - j) * torch.tensor(slopes(4), dtype=D))


def test_hard_alibi_lets_head_h_see_its_last_tokens():
    at = Layout.dense(1, 6)
    value = build("hard_alibi", heads=5).bias().value(at, at)
    for h, seen in enumerate([1, 2, None, None, None]):
        for i in range(6):
            for j in range(i + 1):
                want = 0 if seen is None or i - j < seen else -math.inf
                assert value[0, h if value.shape[1] > 1 else 0, i, j] == want
    assert torch.isinf(build("hard_alibi", windows=(3,)).bias().value(at, at)).any(-1).any(-1).tolist() == [
        [True, False, False, False]
    ]
    for wrong in ((0,), (1, 2, 3, 4, 5)):
        with pytest.raises(InputError, match="at most 4 heads"):
            build("hard_alibi", windows=wrong)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (8, 20), (64, 1000), (6, 7)])
def test_t5_buckets_equal_transformers(two_sided, buckets, reach):
    from transformers.models.t5.modeling_t5 import T5Attention

    apart = torch.arange(-3000, 3001)
    want = T5Attention._relative_position_bucket(-apart, two_sided, buckets, reach)
    assert torch.equal(bucket(apart, buckets, reach, two_sided), want)


def test_t5_bias_is_the_table_of_the_bucket():
    t5, q, k = build("t5", buckets=8, reach=20), at_places(*range(30)), at_places(*range(5, 25))
    value = t5.bias().value(q, k)
    index = bucket(distance(q, k)[0, 0], 8, 20, True)
    assert torch.equal(value[0], t5.table[index].permute(2, 0, 1))
    assert set(index.unique().tolist()) == set(range(8)) - {4}  # bucket 4: distance 0 of the other side


def test_t5_refuses_options_without_a_logarithmic_part():
    with pytest.raises(InputError, match="halved"):
        build("t5", buckets=7)
    with pytest.raises(InputError, match="reach 8"):
        build("t5", buckets=32, reach=8)


def test_kerple_is_the_formula():
    at, kerple = Layout.dense(2, 6), build("kerple")
    a, b = kerple.log_a.exp(), kerple.log_b.exp()
    value = kerple.bias().value(at, at)
    for i in range(6):
        for j in range(6):
            torch.testing.assert_close(value[0, :, i, j], -a * torch.log(1 + b * abs(i - j)))


def test_fire_is_the_formula():
    fire, at = build("fire", hidden=5, threshold=4.0, c=0.3), Layout.dense(2, 9)
    value = fire.bias().value(at, at)
    for i in range(9):
        for j in range(9):
            share = math.log(1 + 0.3 * abs(i - j)) / math.log(1 + 0.3 * max(4, i))
            want = fire.f(torch.tensor([share], dtype=D))
            torch.testing.assert_close(value[0, :, i, j], want, rtol=1e-6, atol=1e-7)  # c = 0.3 is float32


BOUND = 40


def interpolate(fire, values):
    """Set f by hand to the broken line through (psi(d) / psi(L), values[d]); values (BOUND, heads)."""
    c, threshold = fire.c.abs(), (fire.threshold * fire.stretch).abs()
    knot = torch.log1p(c * torch.arange(BOUND)) / torch.log1p(c * threshold)
    slope = values.diff(dim=0) / knot.diff()[:, None]
    first, _, last = fire.f
    first.weight[:] = 1.0
    first.bias[:] = -knot[:-1]
    last.weight[:] = torch.cat([slope[:1], slope.diff(dim=0)]).T
    last.bias[:] = values[0]


@pytest.mark.parametrize("use", ["alibi", "kerple", "t5"])
def test_fire_can_be_each_of_its_predecessors_exactly(use):
    options = {"t5": {"buckets": 16, "reach": 30, "two_sided": False}}.get(use, {})
    other, fire = build(use, **options), build("fire", hidden=BOUND - 1, threshold=64.0)
    if use == "t5":
        torch.nn.init.normal_(other.table)
    with torch.no_grad():
        line = Layout.dense(1, BOUND)
        values = other.bias().value(line.span(BOUND - 1, BOUND), line)[0, :, 0].flip(-1).T  # by distance 0, 1, ...
        interpolate(fire, values)
        seen = torch.ones(BOUND, BOUND).tril().bool()  # keys up to the query
        want, got = other.bias().value(line, line)[0][:, seen], fire.bias().value(line, line)[0][:, seen]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-11)
    assert want.std() > 0.1


def test_a_bias_for_equal_rows_is_made_once():
    for use in ("t5", "fire", "kerple"):
        score, at = build(use).bias(), Layout.dense(3, 7)
        assert score.value(at, at).shape[0] == 1
        rows = Layout(at.seg, at.pos.contiguous())
        torch.testing.assert_close(score.value(rows, rows), score.value(at, at).expand(3, -1, -1, -1))


def test_halves_turn_as_written_and_so_do_their_gradients_twice():
    x = torch.randn(2, 3, 5, 8, dtype=D, requires_grad=True)
    cos, sin = waves(angles(torch.arange(5)[None, :, None], 8, 100.0)[:, None], "half", D)
    written = x * cos + torch.cat((x[..., 4:], x[..., :4]), -1) * sin
    torch.testing.assert_close(rotate(x, cos, sin, "half"), written, rtol=0, atol=1e-15)
    assert torch.autograd.gradcheck(lambda y: rotate(y, cos, sin, "half"), x)
    assert torch.autograd.gradgradcheck(lambda y: rotate(y, cos, sin, "half").square(), x)
