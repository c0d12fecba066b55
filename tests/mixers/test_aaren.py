"""Aaren is causal attention when attention's queries are all one vector, and its state never grows."""

import torch

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size

WIDTH = 12


def test_is_attention_whose_queries_are_one_vector():
    torch.manual_seed(0)
    mine = config("mixers", {"use": "aaren", "heads": 3, "bias": True}).build(WIDTH).double()
    whole = config("mixers", {"use": "attention", "heads": 3, "bias": True, "causal": True}).build(WIDTH).double()
    with torch.no_grad():
        for name in ("k", "v", "o"):
            getattr(whole, name).load_state_dict(getattr(mine, name).state_dict())
        whole.q.weight.zero_()
        whole.q.bias.copy_(mine.query.flatten())
    for at in (Layout.dense(2, 9), Layout.padded([9, 4]), Layout.padded([3, 9], side="left")):
        x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
        torch.testing.assert_close(at.clean(mine(x, at)), at.clean(whole(x, at)))


def test_state_does_not_grow():
    m, x = config("mixers", "aaren").build(WIDTH).double(), torch.randn(2, 40, WIDTH, dtype=torch.float64)
    state = m.start(2, x)
    assert size(m.chunk(x, Layout.dense(2, 40), state)[1]) == size(state) == 2 * 8 * (4 + 4 + WIDTH)
