"""Dealt heads: whole numbers in proportion, equal shares are grouped-query attention, and training moves the deal."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.ops.deal import deal

WIDTH, AT = 12, Layout.dense(2, 9)


def _mixer(use="dealt_attention", **options):
    torch.manual_seed(0)
    return config("mixers", {"use": use, "heads": 6, "kv_heads": 3, **options}).build(WIDTH).double().eval()


def _plain(m):
    plain = _mixer("attention")
    plain.load_state_dict({k: v for k, v in m.state_dict().items() if k in plain.state_dict()})
    return plain


def _x(seed=1):
    return torch.randn(2, 9, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("share", "counts"),
    [([1, 1, 1], [2, 2, 2]), ([0, 0, 0], [2, 2, 2]), ([3, 2, 1], [3, 2, 1]), ([1, 0, 0], [6, 0, 0]), ([5, 4, 4], [2, 2, 2])],
)  # fmt: skip
def test_a_deal_is_in_proportion(share, counts):
    owner = deal(torch.tensor(share, dtype=torch.float64), 6)
    assert torch.bincount(owner, minlength=3).tolist() == counts
    assert owner.tolist() == sorted(owner.tolist())


def test_remainders_go_to_the_largest_and_then_the_first():
    assert deal(torch.tensor([1.0, 1.0, 1.0]), 4).tolist() == [0, 0, 1, 2]
    assert deal(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), 4).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("how", ["now", "difference", "average", "even"])
def test_equal_norms_are_grouped_queries(how):
    """Keys of all groups are turned copies of each other; those of DGQA are dealt in training."""
    m = _mixer(deal=how)
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64)).Q
    with torch.no_grad():
        for g in (1, 2):
            m.k.weight[2 * g : 2 * g + 2] = (turn if g == 1 else turn.T) @ m.k.weight[:2]
    m.train()
    for seed in (1, 2):
        m(_x(seed), AT)
    m.eval()
    torch.testing.assert_close(m(_x(), AT), _plain(m)(_x(), AT))


def test_now_deals_by_the_keys_of_each_sequence():
    m = _mixer()
    with torch.no_grad():
        m.k.weight[:2] *= 9
    x = _x()
    norms = m.k(x).unflatten(-1, (3, 2)).square().sum((1, 3)).sqrt()
    owner = deal(norms, 6)
    assert owner.tolist() != deal(torch.ones(2, 3), 6).tolist()
    q, k, v = m.q(x).unflatten(-1, (6, 2)), *(f(x).unflatten(-1, (3, 2)) for f in (m.k, m.v))
    out = torch.empty_like(q)
    for b in range(2):
        for h, g in enumerate(owner[b].tolist()):
            out[b, :, h] = (q[b, :, h] @ k[b, :, g].T * 2**-0.5).softmax(-1) @ v[b, :, g]
    torch.testing.assert_close(m(x, AT), m.o(out.flatten(2)))


def test_difference_deals_by_what_changed_and_keeps_it():
    m = _mixer(deal="difference").train()
    m(_x(), AT)
    assert m.owner.tolist() == [0, 0, 1, 1, 2, 2]  # nothing to compare with
    with torch.no_grad():
        m.k.weight[4:] *= 3
    m(_x(), AT)
    assert m.owner.tolist() == [2] * 6
    m.eval()(_x(3), AT)
    assert m.owner.tolist() == [2] * 6


def test_average_and_every():
    m = _mixer(deal="average", every=2).train()
    norms = []
    for seed in range(4):
        m(_x(seed), AT)
        norms.append(m.k(_x(seed)).unflatten(-1, (3, 2)).square().sum((1, 3)).sqrt().sum(0))
    want = 0.9 * norms[2] + 0.1 * norms[0]
    torch.testing.assert_close(m.last, want.detach())
    assert torch.equal(m.owner, deal(want, 6))


def test_noise_has_the_size_of_what_heads_found_and_stays_in_training():
    m = _mixer(deal="even", noise=True)
    assert torch.equal(m(_x(), AT), m(_x(), AT))
    torch.testing.assert_close(m(_x(), AT), _plain(m)(_x(), AT))
    m.train()
    m.o = torch.nn.Identity()
    x = torch.randn(64, 9, WIDTH, dtype=torch.float64)
    at = Layout.dense(64, 9)
    y, found = m(x, at), m.eval()(x, at)
    apart, found = ((z.unflatten(-1, (6, 2))).transpose(0, 2).flatten(1) for z in (found - y, found))
    apart, found = apart.reshape(6, -1), found.reshape(6, -1)
    assert ((apart.std(-1) / found.std(-1) - 1).abs() < 0.1).all()


def test_more_groups_than_heads_are_refused():
    with pytest.raises(InputError, match="7 kv_heads are more than 6"):
        _mixer(kv_heads=7)
