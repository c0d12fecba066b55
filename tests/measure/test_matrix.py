"""What is drawn of a mixer: its own weights where it has such, else slopes; nothing above a causal diagonal."""

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from panformer.core.errors import EnvironmentGap, InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.measure import picture
from panformer.measure.matrix import View, slopes, view

WIDTH, LENGTH, D = 8, 10, torch.float64
EXACT = {
    "attention": "attend", "retention": "linear_attention", "gated_linear_attention": "gated_linear",
    "delta_net": "delta_rule", "mamba": "selective_scan", "mamba2": "linear_attention", "rwkv": "wkv",
    "aaren": "prefix_softmax",
}  # fmt: skip


def _mixer(use, **options):
    torch.manual_seed(0)
    return config("mixers", {"use": use, **options}).build(WIDTH).to(D).eval()


def _drawn(length=LENGTH):
    return torch.randn(length, WIDTH, dtype=D, generator=torch.Generator().manual_seed(1))


def _options(use):
    some = {"attention": {"heads": 2, "causal": True}, "mamba2": {"heads": 2, "state": 3}, "mamba": {"state": 3}}
    return some.get(use, {"heads": 2} if use not in ("rwkv", "min_gru", "lstm", "min_lstm") else {})


@pytest.mark.parametrize("use", EXACT)
def test_mixers_that_are_linear_in_their_values_show_their_weights(use):
    shown = view(_mixer(use, **_options(use)), _drawn())
    assert shown.exact and shown.says == f"weight of a value in {EXACT[use]}"
    assert shown.heads.shape[1:] == (LENGTH, LENGTH)
    assert (shown.heads.triu(1) == 0).all() and (shown.heads.diagonal(0, 1, 2) != 0).any()


@pytest.mark.parametrize("use", ["min_gru", "lstm"])
def test_others_show_their_slopes(use):
    shown = view(_mixer(use), _drawn())
    assert not shown.exact and shown.says == "size of dy/dx" and shown.heads.shape == (1, LENGTH, LENGTH)
    assert (shown.heads.triu(1) == 0).all() and (shown.heads.tril()[0] > 0).sum() == LENGTH * (LENGTH + 1) // 2


def test_the_weights_of_attention_are_its_softmax():
    m, x = _mixer("attention", heads=2, kv_heads=1, causal=True), _drawn()
    q, k = m.q(x).unflatten(-1, (2, -1)).transpose(0, 1), m.k(x)
    want = (q @ k.mT * m.scale).masked_fill(torch.ones(LENGTH, LENGTH).triu(1).bool(), -torch.inf).softmax(-1)
    torch.testing.assert_close(view(m, x).heads, want)


def test_the_weights_of_mamba_are_its_state_space_written_out():
    m, x = _mixer("mamba", state=3), _drawn()
    shown = view(m, x).heads
    u = m.input(x[None]).chunk(2, -1)[0]
    u = F.silu(F.conv1d(F.pad(u.mT, (3, 0)), m.filter[:, None], m.offset, groups=m.inner).mT)
    delta, b, c = m.rates(u)
    a = -m.a_log.exp()
    for i, j in ((4, 4), (7, 2)):
        fall = (a * delta[0, j + 1 : i + 1].sum(0)[:, None]).exp()
        want = (c[0, i] * fall * b[0, j]).sum(-1) * delta[0, j]
        torch.testing.assert_close(shown[:, i, j], want)


def test_slopes_are_the_sizes_of_jacobians():
    w, v = torch.randn(LENGTH, LENGTH, dtype=D), torch.randn(WIDTH, WIDTH, dtype=D)
    found = slopes(lambda x: w @ x @ v, _drawn())
    torch.testing.assert_close(found, w.abs() * v.norm())
    jacobian = torch.autograd.functional.jacobian(
        lambda x: _mixer("min_gru")(x[None], Layout.dense(1, LENGTH))[0], _drawn()
    )
    torch.testing.assert_close(view(_mixer("min_gru"), _drawn()).heads[0], jacobian.square().sum((1, 3)).sqrt())


def test_a_composed_mixer_shows_slopes_where_its_tokens_lie():
    """Its inner mixers have weights of their own, but in another order."""
    m = _mixer("scanned", mixer={"use": "retention", "heads": 2}, orders=["column"])
    shown = view(m, _drawn(6), (2, 3))
    read = [0, 3, 1, 4, 2, 5]
    assert not shown.exact
    assert all((shown.heads[0, i, j] > 0) == (read.index(j) <= read.index(i)) for i in range(6) for j in range(6))


def test_mixers_that_look_at_all_show_it():
    for m in (_mixer("hydra", heads=2, state=3), _mixer("attention", heads=2)):
        assert view(m, _drawn()).exact and (view(m, _drawn()).heads.triu(1) != 0).any()


def test_what_reads_a_memory_has_no_such_matrix():
    with pytest.raises(InputError, match="memory"):
        view(_mixer("cross_attention", heads=2), _drawn())


# ---- the picture


@pytest.mark.parametrize("kind", [".png", ".svg", ".pdf"])
def test_a_picture_is_written(tmp_path, kind):
    pytest.importorskip("matplotlib")
    heads = torch.randn(11, 5, 5, dtype=D).tril()
    picture.draw(View(heads, "weight", True), tmp_path / "new" / f"a{kind}", "a title")
    assert (tmp_path / "new" / f"a{kind}").stat().st_size > 1000
    picture.draw(View(heads[:1].abs(), "weight", True), tmp_path / f"b{kind}", "")


def test_a_picture_of_no_known_kind_is_refused():
    with pytest.raises(InputError, match=r"a\.jpeg: a picture's name ends in \.png"):
        picture.check(Path("a.jpeg"))


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentGap, match=r"matplotlib is not installed; run: pip install 'panformer\[choose\]'"):
        picture.check(Path("a.png"))
