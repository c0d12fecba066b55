"""ConvMixer's layers are the paper's block in torch's own modules, in evaluation and in training."""

import pytest
import torch
from torch import nn

from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.shared import Shared
from panformer.model.build import build

WIDTH, KERNEL, DEPTH = 6, 3, 2


class Added(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def _peer():
    """Convolutions on (B, D, h, w) as the paper draws them."""
    blocks = []
    for _ in range(DEPTH):
        local = nn.Conv2d(WIDTH, WIDTH, KERNEL, groups=WIDTH, padding="same")
        blocks += [
            Added(local, nn.GELU(), nn.BatchNorm2d(WIDTH)),
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.GELU(), nn.BatchNorm2d(WIDTH)),
        ]
    return nn.Sequential(*blocks).double()


@pytest.mark.parametrize("training", [False, True])
def test_layers_are_the_papers_block(training):
    torch.manual_seed(0)
    model = build({
        "width": WIDTH, "norm": "batch", "residual": "replace", "embed": {"use": "patches", "size": 1, "channels": 1},
        "schedule": [{"repeat": DEPTH, "mixer": {"use": "conv_mixer", "kernel": KERNEL}, "channel": "pointwise"}],
        "head": {"use": "classify", "classes": 3},
    }).double().train(training)  # fmt: skip
    peer = _peer().train(training)
    for i, layer in enumerate(model.trunk.each()):
        local, point = peer[2 * i], peer[2 * i + 1]
        local[0].load_state_dict(layer.mixer.conv.state_dict())
        point[0].weight.data = layer.channel.map.weight.data[..., None, None]
        point[0].bias.data = layer.channel.map.bias.data
        for norm, theirs in zip(layer.residual.norms, (local[2], point[2]), strict=True):
            nn.init.normal_(norm.norm.weight)
            nn.init.normal_(norm.norm.running_mean)
            theirs.load_state_dict(norm.norm.state_dict())
    x, at = torch.randn(3, 20, WIDTH, dtype=torch.float64), Layout.lattice(3, (4, 5))
    y, _ = model.trunk(x, at, Shared())
    want = peer(x.mT.unflatten(2, (4, 5))).flatten(2).mT
    torch.testing.assert_close(y, want)


def test_batch_norm_counts_real_tokens_alone():
    norm, at = config("norms", "batch").build(WIDTH).double().train(), Layout.padded([5, 2])
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    x[1, 2:] = torch.nan
    real = at.valid
    want = (x[real] - x[real].mean(0)) / (x[real].var(0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x, at)[real], want)
    assert norm(x, at).isfinite().all()
