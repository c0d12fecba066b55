"""Only the weights whose names fit learn; the others keep their values to the bit."""

import pytest
import torch

import panformer
from panformer.claims import registry, run
from panformer.core.errors import InputError
from panformer.papers.schema import Train

SPEC = {
    "width": 16,
    "embed": {"use": "patches", "size": 2, "channels": 1},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    "head": {"use": "classify", "classes": 10},
}


@pytest.fixture
def model():
    return panformer.build(SPEC, seed=0)


def test_others_stay(model):
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    count = panformer.learn_only(model, "*.mixer.*", "head.*")
    run.train_on(model, registry.task({"use": "digits", "form": "image"}), 0, Train(steps=3))
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if ".mixer." in name or name.startswith("head.")}
    assert count == sum(before[name].numel() for name in moved)


def test_all_again(model):
    panformer.learn_only(model, "head.*")
    assert panformer.learn_only(model, "*") == sum(w.numel() for w in model.parameters())


def test_unknown_name(model):
    with pytest.raises(InputError, match=r"no weight is called '\*\.attention\.\*'; names are like embed"):
        panformer.learn_only(model, "*.attention.*")
    assert all(w.requires_grad for w in model.parameters()), "a refused call changes nothing"
