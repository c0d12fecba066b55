"""Linformer from its formula, its exact form, and the public package on copied weights."""

import pytest
import torch

from panformer.claims import judges
from panformer.claims.facts import landmarks
from panformer.claims.peers import landmarks as peers
from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack
from panformer.core.part import config

WIDTH, D = 8, torch.float64


def build(**options):
    torch.manual_seed(1)
    return config("mixers", {"use": "linformer", "heads": 2, **options}).build(WIDTH).double()


def test_with_unit_projections_it_is_attention():
    assert judges.difference(*landmarks.linformer(0)) < 1e-12
    assert judges.difference(*landmarks.linformer(0, identity=False)) > 1e-3


def test_equals_the_public_package():
    pytest.importorskip("linformer", reason="linformer is not installed")
    assert judges.difference(*peers.linformer(0)) < 1e-12


@pytest.mark.parametrize("share", ["none", "heads", "kv"])
def test_equals_the_formula_on_packed_sequences(share):
    part = build(length=9, rank=4, share=share)
    xs = [torch.randn(n, WIDTH, dtype=D) for n in (9, 1, 5)]
    x, at = pack(xs)
    outs = []
    for one in xs:
        heads = []
        for h in range(2):
            cut = slice(h * 4, h * 4 + 4)
            e = part.to_keys[h if share == "none" else 0][:, : len(one)]
            f = e if share == "kv" else part.to_values[h if share == "none" else 0][:, : len(one)]
            q, k, v = (m(one)[:, cut] for m in (part.q, part.k, part.v))
            heads.append((q @ (e @ k).T / 2).softmax(-1) @ (f @ v))
        outs.append(part.o(torch.cat(heads, 1)))
    torch.testing.assert_close(part(x, at)[0], torch.cat(outs))


@pytest.mark.parametrize(("share", "matrices"), [("none", 4), ("heads", 2), ("kv", 1)])
def test_sharing_saves_projections(share, matrices):
    part = build(length=9, rank=4, share=share)
    assert sum(p.numel() for n, p in part.named_parameters() if n.startswith("to_")) == matrices * 9 * 4


def test_a_longer_sequence_is_refused_in_one_line():
    with pytest.raises(InputError, match="10 tokens is longer than length 9") as fault:
        build(length=9, rank=4)(torch.randn(1, 10, WIDTH, dtype=D), Layout.dense(1, 10))
    assert "\n" not in str(fault.value)
