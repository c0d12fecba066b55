"""Candidates fit the data's contract; what does not fit is told with its reason."""

import pytest
import torch

from panformer import build
from panformer.choose import forms
from panformer.choose.options import Limits
from panformer.choose.propose import propose, sample
from panformer.core.errors import InputError
from panformer.measure.quality import quality

KINDS = ["table", "regression", "text", "series", "language", "image", "frames"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_a_model_that_answers(data, kind):
    d = data[kind]
    for name, form in forms.forms(d.task).items():
        choice = {"form": name, "position": "none", "width": 16, "depth": 1, "dropout": 0.0, "heads": 2}
        model = build(forms.spec(d.task, "attention", choice), seed=0).eval()
        rows = sample(d, 2)
        with torch.no_grad():
            tokens = model.run(rows.x, rows.lengths).at.length
        assert tokens <= form.tokens, f"{kind} {name}: {tokens} tokens, promised {form.tokens}"
        assert quality(model, d, "test").measure >= 0


def test_ten_mixers_over_the_kinds_of_data(data):
    found = set()
    for kind in ("image", "language"):
        found |= set(propose(data[kind], Limits()).families)
    assert len(found) >= 10, f"only {sorted(found)}"


def test_the_kinds_are_what_they_are_called(data):
    assert [data[k].task.reads for k in ("table", "text", "image", "frames")] == ["values", "tokens", "image", "values"]


def test_reasons_are_told(data):
    table, text = propose(data["table"], Limits()), propose(data["language"], Limits())
    assert "lattice" in table.excluded["grid_conv"]
    assert "memory" in table.excluded["cross_attention"]
    for name in ("fourier", "pool", "ponet"):
        assert "looks ahead" in text.excluded[name], text.excluded.get(name)
        assert name in table.families


def test_positions_that_a_mixer_refuses_are_told(data):
    found = propose(data["frames"], Limits(), ("linear_attention",))
    assert "alibi" not in found.families["linear_attention"].space["position"]
    assert "alibi" in found.excluded["linear_attention with alibi"]
    assert "rope" in found.families["linear_attention"].space["position"]


def test_tokens_without_order_get_no_positions(data):
    assert propose(data["table"], Limits(), ("attention",)).families["attention"].space["position"] == ("none",)


@pytest.mark.parametrize("asked", [{"include": ("atention",)}, {"exclude": ("atention",)}])
def test_unknown_mixers_are_refused_with_the_known(data, asked):
    with pytest.raises(InputError, match=r"did you mean 'attention'.*known: .*mamba"):
        propose(data["table"], Limits(), **asked)


def test_a_limit_that_nothing_meets_names_the_number(data):
    with pytest.raises(
        InputError, match=r"attention: even its smallest model: size 0\.\d+ MB is over the limit of 0.001 MB"
    ):
        propose(data["table"], Limits(size_mb=0.001), ("attention",))


def test_limits_admit_what_fits(data):
    found = propose(data["table"], Limits(size_mb=0.02, memory_mb=1.0), ("attention", "identity"))
    assert set(found.families) == {"attention", "identity"}


def test_excluding_everything_but_one(data):
    found = propose(data["table"], Limits(), ("attention", "pool"), ("pool",))
    assert list(found.families) == ["attention"]
    assert found.excluded["pool"] == "left out by --exclude"
    assert found.excluded["mamba"] == "not named by --include"
