"""Layer norms rewritten to norms without a mean: answers stay, or the model is refused with the reason."""

import pytest
import torch

import panformer
from panformer.claims.facts import recentred as facts
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.model.recentre import recentre

ATTENTION = {"use": "attention", "heads": 2}
SPEC = {
    "width": 12,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 17},
    "position": {"use": "learned", "length": 20},
    "schedule": [{"repeat": 2, "mixer": ATTENTION, "channel": "mlp"}],
    "head": {"use": "lm", "vocab": 17},
}
X = torch.arange(22).view(2, 11) % 17
FORMS = ("rms", "crms")
LM = {"use": "lm", "vocab": 17}


def drawn(**change):
    return facts._drawn(panformer.build({**SPEC, **change}, seed=0).double(), 0)


def layer(mixer=ATTENTION, channel="mlp"):
    return {"schedule": [{"repeat": 2, "mixer": mixer, "channel": channel}]}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"head": {**LM, "tie": False, "bias": True, "scale": 0.3}},
        {"head": {**LM, "transform": "layer", "dense_bias": False}},
        {"head": {"use": "tag", "classes": 3, "hidden": 5, "norm": "layer"}},
        {"head": {"use": "tag", "classes": 3, "bias": False}},
        {"head": {"use": "classify", "classes": 3}},
        {"head": {"use": "classify", "classes": 3, "pool": "first+mean", "before": 1}},
        {"norm": {"use": "layer", "bias": False, "eps": 1e-3}},
        {"residual": "parallel"},
        {"residual": {"use": "parallel", "norms": "each"}},
        {"residual": {"use": "scale", "init": 0.3}},
        {"residual": "two_hop"},
        {"embed": {"use": "tokens", "vocab": 17, "size": 6, "norm": "layer"}, "head": {**LM, "tie": False}},
        {"embed": {"use": "tokens", "vocab": 17, "scale": True, "types": 2}},
        {"position": "rope", **layer({**ATTENTION, "k_bias": False, "gate": "channel", "qk_norm": "layer"}, "glu")},
        {"position": "alibi", **layer({**ATTENTION, "bias": True}, {"use": "mlp", "bias": False})},
        {"schedule": [{"repeat": 3, "tie": True, "mixer": ATTENTION, "channel": {"use": "glu", "norm": "rms"}}]},
        {"schedule": [{"mixer": ATTENTION}, {"repeat": 2, "channel": "mlp"}]},
    ],
    ids=str,
)
def test_answers_stay(change, form):
    model = drawn(**change)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    new = recentre(model, form)
    with torch.no_grad():
        torch.testing.assert_close(new(X), model(X), rtol=1e-10, atol=1e-10)
    norms = {m.use() for layer in new.trunk.each() for m in layer.residual.norms} | {new.trunk.final.use()}
    assert norms == {form}
    assert new.spec.width == 12 - (form == "crms")
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items()), "the model given was changed"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("position", [{"use": "learned", "length": 20}, {"use": "learned_grid", "grid": (2, 4)}])
def test_images_streams_and_folders(form, position, tmp_path):
    patches = {"use": "patches", "size": 2, "channels": 3, "class_token": True, "registers": 1}
    head = {"use": "classify", "classes": 3, "pool": "first"}
    model = drawn(causal=False, embed=patches, head=head, position=position)
    image = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(recentre(model, form)(image), model(image), rtol=1e-10, atol=1e-10)
        new, old = recentre(drawn(), form), drawn()
        y, stream = new.chunk(X[:, :4], new.start(2))
        torch.testing.assert_close(torch.cat((y, new.chunk(X[:, 4:], stream)[0]), 1), old(X), rtol=1e-10, atol=1e-10)
        panformer.save(new, tmp_path / "m")
        assert torch.equal(panformer.load(tmp_path / "m")(X), new(X))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"residual": "post"}, "residual 'post' does more"),
        ({"residual": "sandwich"}, "residual 'sandwich' does more"),
        ({"residual": "gru"}, "residual 'gru' does more"),
        ({"residual": {"use": "two_hop", "later": "rms"}}, "another kind of norm"),
        ({"norm": "rms"}, "no layer norm"),
        ({"final": "rms"}, "does not come out of a layer norm"),
        (layer(channel={"use": "moe", "experts": 2}), "channel 'moe'"),
        (layer({"use": "linear_attention", "heads": 2}), "mixer 'linear_attention'"),
        ({"position": "cable"}, "position 'cable'"),
        ({"embed": {"use": "tokens", "vocab": 17, "norm": "layer"}}, "ends in a norm"),
        ({"head": None}, "hidden vectors"),
        ({"head": {"use": "regress"}}, "head 'regress'"),
        ({"head": {"use": "tag", "classes": 2, "norm": "layer"}}, "normalises what the final norm"),
        ({"linears": [{"where": "trunk.*", "use": "centred"}]}, "linears"),
        ({"depth": "weighted_average"}, "depth"),
    ],
    ids=str,
)
def test_what_would_change_is_refused(change, says, form):
    with pytest.raises(InputError, match=says):
        recentre(drawn(**change), form)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"position": "sinusoidal"}, "cannot be left out"),
        ({"embed": {"use": "hashed", "buckets": 9, "hashes": 2}, "head": {"use": "tag", "classes": 2}}, "be left out"),
        ({"head": {"use": "classify", "classes": 3, "pool": "max"}}, "needs them all"),
    ],
)
def test_rms_keeps_what_crms_must_refuse(change, says):
    model = drawn(**change)
    with torch.no_grad():
        torch.testing.assert_close(recentre(model)(X), model(X), rtol=1e-10, atol=1e-10)
    with pytest.raises(InputError, match=says):
        recentre(model, "crms")


def test_crms_is_the_rms_norm_of_a_vector_that_sums_to_nothing():
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    x = x - x.mean(-1, keepdim=True)
    rms, crms = (config("norms", {"use": u, "eps": 1e-5}).build(w).double() for u, w in (("rms", 8), ("crms", 7)))
    at = Layout.dense(2, 5)
    torch.testing.assert_close(crms(x[..., :-1], at), rms(x, at)[..., :-1], rtol=1e-12, atol=1e-12)


def test_losses_of_training_are_those_of_centred_maps():
    got, want = facts.trajectories(0, {"width": 12, **layer()}, steps=6)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    got, want = facts.trajectories(0, {"width": 12, **layer()}, steps=6, centred=False)
    assert (got - want).abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_a_model_of_real_size_that_keeps_its_means_would_answer_otherwise(form):
    got, want = facts.preset(0, "vit", form)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    got, _ = facts.preset(0, "vit", form, centred=False)
    assert (got - want).abs().max() > 1e-2 * want.abs().max()
