"""Softmax attention made linear: what is copied, what learns, and what is refused."""

import pytest
import torch

import panformer
from panformer.claims.tasks._base import Batch
from panformer.core.errors import InputError
from panformer.train import mimic


def model(**mixer):
    layer = {"mixer": {"use": "attention", "heads": 2, **mixer}, "channel": "mlp"}
    embed = {"use": "tokens", "vocab": 11}
    tree = {"width": 16, "causal": True, "embed": embed, "schedule": [{"repeat": 2, **layer}]}
    return panformer.build({**tree, "head": {"use": "tag", "classes": 3}}, seed=0)


def batches(count=30):
    rng = torch.Generator().manual_seed(0)
    lengths = torch.tensor([12, 5, 9])
    return [Batch(torch.randint(11, (3, 12), generator=rng), lengths) for _ in range(count)]


def test_all_but_the_feature_maps_is_copied_and_stays():
    teacher = model(bias=True)
    before = {n: t.clone() for n, t in teacher.state_dict().items()}
    student = mimic.linearise(teacher, "hedgehog")
    losses = mimic.mimic(student, teacher, batches())
    assert losses[-1] < losses[0]
    after = student.state_dict()
    assert all(torch.equal(before[n], t) and torch.equal(before[n], after[n]) for n, t in teacher.state_dict().items())
    assert {n.split(".feature.")[0] for n in after if n not in before} == {f"trunk.layers.{i}.mixer" for i in (0, 1)}


def test_what_is_seen_is_the_softmax_and_padding_looks_at_nothing():
    teacher, batch = model(), batches(1)[0]
    kept = []
    hook = teacher.trunk.layers[1].mixer.register_forward_hook(lambda _m, given, out: kept.append((given, out)))
    s = mimic.seen(teacher, batch)[1]
    hook.remove()
    (x, at, _), out = kept[0]
    mixer = teacher.trunk.layers[1].mixer
    v = mixer.v(at.clean(x)).unflatten(-1, (2, -1)).transpose(1, 2)
    right = mixer.o((s.weight @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(at.clean(right), at.clean(out))
    assert (s.weight[1, :, 5:] == 0).all() and (s.weight[1, :, :, 5:] == 0).all()


def test_the_likeness_of_the_softmax_to_itself_is_its_entropy_and_the_least():
    class Same(torch.nn.Module):
        def forward(self, q, k):
            return s.weight.double(), torch.eye(s.weight.shape[-1], dtype=torch.float64).expand(*s.weight.shape)

    s = mimic.seen(model(), batches(1)[0])[0]
    entropy = -(s.weight * s.weight.clamp_min(1e-12).log()).sum() / s.weight.sum()
    torch.testing.assert_close(mimic.likeness(Same(), s).float(), entropy)
    assert mimic.likeness(mimic.linearise(model(), "elu").trunk.layers[0].mixer.feature, s) > entropy


def test_codes_learn_to_agree_where_the_softmax_looks():
    teacher = model()
    student = mimic.linearise(teacher, {"use": "hashed", "bits": 8, "samples": 10})
    mimic.settle(student, teacher, batches(1)[0])
    losses = mimic.mimic(student, teacher, batches(1) * 40, loss=mimic.agreement)
    assert losses[-1] < 0.95 * losses[0]


def test_a_map_without_parameters_has_nothing_to_learn():
    teacher = model()
    assert mimic.mimic(mimic.linearise(teacher, "elu"), teacher, batches(2)) == []


@pytest.mark.parametrize("mixer", [{"kv_heads": 1}, {"window": 4}, {"position": "rope"}, {"cap": 5.0}])
def test_attention_that_linear_attention_is_not_is_refused(mixer):
    with pytest.raises(InputError, match=f"no option '{next(iter(mixer))}'"):
        mimic.linearise(model(**mixer), "elu")


def test_a_model_without_attention_is_refused():
    with pytest.raises(InputError, match="no mixer `attention`"):
        mimic.linearise(mimic.linearise(model(), "elu"), "relu")
