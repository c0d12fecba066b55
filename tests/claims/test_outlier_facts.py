"""What the facts about outliers measure: levels of a rounding, every map that is rounded, weights of exactly 0."""

import pytest
import torch

import panformer
from panformer.claims import registry
from panformer.claims.facts import outliers

MIXER = {"use": "attention", "heads": 2, "normaliser": {"use": "clipped_softmax", "gamma": -0.2}}


@pytest.fixture
def net(monkeypatch):
    ends = registry.task({"use": "text", "length": 32}).ends()
    made = panformer.build({**ends, "width": 8, "schedule": [{"repeat": 2, "mixer": MIXER, "channel": "mlp"}]}, seed=0)
    monkeypatch.setattr(outliers, "_net", lambda *_: made.eval())
    return made


def test_rounding_has_so_many_levels_keeps_zero_and_cuts_what_lies_beyond():
    x = torch.cat([torch.linspace(-1, 3, 5000), torch.tensor([0.0, 9.0, -9.0])])
    y = outliers._rounded(x, (-1.0, 3.0), 4)
    step = 4 / 15
    assert len(y.unique()) == 16 and y[5000] == 0
    assert (x - y)[:5000].abs().max() <= step * 0.51 + step / 2  # the levels are moved so that 0 is one of them
    assert y[5001] == y.max() <= 3 + step and y[5002] == y.min() >= -1 - step


def test_rounding_is_seen_by_every_map_and_layer_and_leaves_the_model_alone(net):
    x, names = torch.arange(20)[None] % 250, set()
    want = net(x)

    def see(name, y):
        names.add(name)
        return y

    with outliers._watched(net, see):
        torch.testing.assert_close(net(x), want)
    assert len(outliers._maps(net)) == 12
    assert names == {f"{i} {what}" for i in range(12) for what in ("reads", "answers")} | {"layer 0", "layer 1"}
    fewer = [outliers.lost(0, {}, 0, bits, length=32) for bits in (16, 2)]
    assert abs(fewer[0]) < 1e-3 < abs(fewer[1])
    assert torch.equal(net(x), want)


def test_zeros_are_counted_among_visible_keys(net):
    share = outliers.zeros(0, {}, 0, length=32)
    assert 0.5 < share < 1  # of 32 keys none can have a share of a sixth but a few
    for layer in net.trunk.each():
        layer.mixer.normaliser.gamma = 0.0
    assert outliers.zeros(0, {}, 0, length=32) == 0


def test_largest_and_kurtosis_are_those_of_the_stream(net):
    x = registry.task({"use": "text", "length": 32}).test(torch.Generator().manual_seed(0), 64).x
    seen = []
    hook = net.trunk.each()[-1].register_forward_hook(lambda m, args, y: seen.append(y))
    with torch.no_grad():
        net(x)
    hook.remove()
    assert outliers.largest(0, {}, 0, length=32) >= seen[0].abs().max()
    assert 1 <= outliers.kurtosis(0, {}, 0, length=32) < 30
