"""States as trees, and the side channel between layers."""

import torch

from panformer.core import state
from panformer.core.shared import Shared


def tree():
    return {"a": torch.arange(6.0).view(3, 2), "b": (torch.arange(3), [torch.zeros(3, 0)])}


def test_a_state_is_reordered_row_by_row():
    new = state.reorder(tree(), torch.tensor([2, 2]))
    assert new["a"].tolist() == [[4.0, 5.0]] * 2
    assert new["b"][0].tolist() == [2, 2]
    assert new["b"][1][0].shape == (2, 0)


def test_a_state_knows_its_bytes():
    assert state.size(tree()) == 6 * 4 + 3 * 8
    assert state.size(()) == 0


def test_a_state_is_cut_from_the_graph_and_changed():
    x = torch.ones(2, requires_grad=True) * 2
    assert not state.detach((x,))[0].requires_grad
    assert state.each(lambda t: t * 2, (x,))[0].tolist() == [4.0, 4.0]


def test_layers_share_losses_but_not_what_they_lend():
    whole = Shared()
    one, two = whole.layer({}), whole.layer({"kv": 1})
    one.give("kv", 2)
    one.charge("balance", torch.tensor(1.0))
    two.charge("balance", torch.tensor(2.0))
    assert (one.take("kv"), two.take("kv"), two.take("other")) == (None, 1, None)
    assert (one.given, two.given, whole.given) == ({"kv": 2}, {}, {})
    assert whole.losses["balance"] == 3
