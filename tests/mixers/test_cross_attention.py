"""Cross-attention equals torch's multi-head attention, reads its own row's memory, and keeps it while streaming."""

import pytest
import torch
from torch import nn

from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.shared import Shared

WIDTH, HEADS = 16, 4


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return config("mixers", {"use": "cross_attention", "heads": HEADS, "bias": True}).build(WIDTH).double()


def test_equals_torch(mixer):
    peer = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([mixer.q.weight, mixer.k.weight, mixer.v.weight]))
        peer.in_proj_bias.copy_(torch.cat([mixer.q.bias, mixer.k.bias, mixer.v.bias]))
        peer.out_proj.load_state_dict(mixer.o.state_dict())
    x, memory = torch.randn(2, 5, WIDTH, dtype=torch.float64), torch.randn(2, 7, WIDTH, dtype=torch.float64)
    where = Layout.padded([7, 3])
    right, _ = peer(x, memory, memory, key_padding_mask=~where.valid)
    memory[~where.valid] = torch.nan
    torch.testing.assert_close(mixer(x, Layout.dense(2, 5), Shared({"memory": (memory, where)})), right)


def test_packed_sequences_read_their_own_memory(mixer):
    x, memory = torch.randn(1, 6, WIDTH, dtype=torch.float64), torch.randn(1, 9, WIDTH, dtype=torch.float64)
    shared = Shared({"memory": (memory, Layout.packed([5, 4]))})
    y = mixer(x, Layout.packed([2, 4]), shared)
    for tokens, cells in ((slice(0, 2), slice(0, 5)), (slice(2, 6), slice(5, 9))):
        alone = Shared({"memory": (memory[:, cells], Layout.dense(1, cells.stop - cells.start))})
        right = mixer(x[:, tokens], Layout.dense(1, tokens.stop - tokens.start), alone)
        torch.testing.assert_close(y[:, tokens], right)


def test_memory_is_read_once(mixer):
    x, memory = torch.randn(2, 3, WIDTH, dtype=torch.float64), torch.randn(2, 7, WIDTH, dtype=torch.float64)
    shared = Shared({"memory": (memory, Layout.dense(2, 7))})
    whole = mixer(x, Layout.dense(2, 3), shared)
    y, state = mixer.chunk(x[:, :1], Layout.dense(2, 1), mixer.start(2, x), shared)
    rest, _ = mixer.chunk(x[:, 1:], Layout.dense(2, 2, 1), state, None)
    torch.testing.assert_close(torch.cat([y, rest], 1), whole)


def test_refuses_to_run_without_memory(mixer):
    with pytest.raises(InputError, match="memory"):
        mixer(torch.zeros(1, 2, WIDTH).double(), Layout.dense(1, 2))
    shared = Shared({"memory": (torch.zeros(1, 3, WIDTH).double(), Layout.dense(1, 3))})
    with pytest.raises(InputError, match="rows"):
        mixer(torch.zeros(2, 2, WIDTH).double(), Layout.dense(2, 2), shared)
