"""FIT: one block written out group by group, who can see whom, and what it costs."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack
from panformer.core.part import config
from panformer.core.state import size as bytes_of
from panformer.measure import cost

WIDTH, HEADS, D = 8, 2, torch.float64


def build(**options):
    torch.manual_seed(1)
    return config("mixers", {"use": "fit", "heads": HEADS, **options}).build(WIDTH).double()


def look(m, x, memory, ahead=None):
    """One attention written out: x (T, D), memory (S, D), ahead (T, S) what may not be seen."""
    q, k, v = (f(y).unflatten(1, (HEADS, -1)).transpose(0, 1) for f, y in ((m.q, x), (m.k, memory), (m.v, memory)))
    score = q @ k.mT * (WIDTH // HEADS) ** -0.5
    if ahead is not None:
        score = score.masked_fill(ahead, -torch.inf)
    return m.o((score.softmax(-1) @ v).transpose(0, 1).flatten(1))


def norm(m, i, x):
    return m.norms[i](x[None], Layout.dense(1, len(x)))[0]


def block(m, x, size):
    """One sequence (L, D), group by group, from the formula."""
    groups = [range(a, min(len(x), a + size)) for a in range(0, len(x), size)]
    marks = len(m.first)
    a, h, w = [], [], []
    for g in groups:
        ahead = torch.ones(len(g), len(g), dtype=torch.bool).triu(1) if m.causal else None
        a.append(look(m.local, x[list(g)], x[list(g)], ahead))
        h.append(norm(m, 0, x[list(g)] + a[-1]))
        w.append(m.first + look(m.read, m.first, h[-1]))
    w = torch.cat(w)
    number = torch.arange(len(groups)).repeat_interleave(marks)
    later = number[:, None] < number[None] if m.causal else None
    normed = norm(m, 1, w)
    z = norm(m, 2, w + look(m.all, normed, normed, later))
    out = []
    for i in range(len(groups)):
        source = i - 1 if m.causal else i
        y = a[i] if source < 0 else a[i] + look(m.write, h[i], z[source * marks : (source + 1) * marks])
        out.append(y)
    return torch.cat(out)


@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_formula_on_packed_sequences(causal):
    m = build(size=3, latents=2, causal=causal)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (11, 1, 6)]
    x, at = pack(xs)
    torch.testing.assert_close(m(x, at)[0], torch.cat([block(m, one, 3) for one in xs]))


def test_groups_follow_the_length_of_each_sequence():
    m = build(latents=2)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (64, 8, 27, 1)]
    x, at = pack(xs)
    torch.testing.assert_close(m(x, at)[0], torch.cat([block(m, one, n) for one, n in zip(xs, (4, 2, 3, 1))]))


def test_the_causal_form_sees_exactly_the_past():
    """Every earlier token, in the same group and before it, and none after it, exactly."""
    m = build(size=3, latents=2, causal=True)
    x = torch.randn(1, 10, WIDTH, dtype=D, requires_grad=True)
    y = m(x, Layout.dense(1, 10))
    for t in range(10):
        (g,) = torch.autograd.grad(y[0, t].square().sum(), x, retain_graph=True)
        seen = g[0].abs().amax(1) > 0
        assert seen.tolist() == [i <= t for i in range(10)], t


def test_a_stream_keeps_latents_not_tokens():
    m = build(size=4, latents=1, causal=True)
    x = torch.randn(1, 64, WIDTH, dtype=D)
    sizes = []
    state = m.start(1, x)
    for t in range(0, 64, 16):
        state = m.chunk(x[:, t : t + 16], Layout.dense(1, 16, t), state)[1]
        sizes.append(bytes_of(state))
    keys = 2 * 16 / 4 * WIDTH * 8  # bytes of keys and values per 16 tokens
    assert all(keys <= b - a <= keys + 16 / 4 * 16 for a, b in zip(sizes, sizes[1:])), sizes


def test_attention_grows_as_the_power_four_thirds():
    """So narrow that the maps, whose cost is linear, hardly count."""
    sizes = (8**3, 16**3, 32**3)
    m = config("mixers", {"use": "fit", "heads": 1, "latents": 4}).build(4)
    counted = {n: cost.trace(lambda x, n=n: m(x, Layout.dense(1, n)), torch.zeros(1, n, 4)).flops for n in sizes}
    assert 1.28 < cost.growth(counted) < 1.36, counted


def test_a_causal_one_without_a_size_is_refused():
    with pytest.raises(InputError, match="needs `size`"):
        build(causal=True)
