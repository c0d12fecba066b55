"""A saved model answers new input of every kind as it answered in training, and is measured on data of others."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from panformer import build
from panformer.choose import baselines, forms, saved
from panformer.choose.evaluate import evaluate
from panformer.choose.predict import line, predict
from panformer.cli.main import main
from panformer.core.errors import InputError
from panformer.measure.quality import quality

NAMES = {"table": "farm.csv", "regression": "farm.csv", "text": "notes.csv", "series": "tide.csv", "image": "tiles.npz", "frames": "waves.npz", "language": "tale.txt"}  # fmt: skip
WISHES = {
    "table": {"target": "crop"},
    "regression": {"target": "yield"},
    "text": {"target": "label"},
    "series": {"horizon": 6},
}


@pytest.fixture(scope="module")
def folders(data, files, tmp_path_factory):
    """An untrained model of every kind, saved."""
    root = tmp_path_factory.mktemp("models")
    for kind, d in data.items():
        form = next(iter(forms.forms(d.task)))
        choice = {"form": form, "position": "none", "width": 16, "depth": 1, "dropout": 0.0, "heads": 2}
        opened = {"data": str(files / NAMES[kind]), "seed": 0, "task": "auto", **WISHES.get(kind, {})}
        saved.write(root / kind, build(forms.spec(d.task, "attention", choice), seed=1), d, opened)
    return root


@pytest.mark.parametrize("kind", list(NAMES))
def test_eval_on_the_training_data_is_its_test_split(data, files, folders, kind):
    found = evaluate(str(folders / kind), str(files / NAMES[kind]), None)
    right = quality(saved.read(folders / kind).model, data[kind], "test").measure
    assert found["split"] == "test split of the training run"
    assert found["value"] == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("kind", ["table", "regression", "text", "image", "frames"])
def test_predictions_are_the_models_own(data, files, folders, kind):
    answers = list(predict(str(folders / kind), str(files / NAMES[kind])))
    d, model = data[kind], saved.read(folders / kind).model
    by_source = {a["source"]: a for a in answers}
    for x, source in zip(d.test.inputs, d.test.source, strict=True):
        with torch.no_grad():
            own = d.prepare.decode(model(x[None])[0])
        told = by_source[source]
        if isinstance(own, float):
            assert told["value"] == pytest.approx(own, rel=1e-4, abs=1e-4)
        else:
            assert told["label"] == own["label"]
            assert told["probabilities"][own["label"]] == pytest.approx(own["probabilities"][own["label"]], abs=1e-5)
    assert all(line(a) for a in answers)


def test_a_forecast_goes_on_from_the_end(data, files, folders):
    (answer,) = predict(str(folders / "series"), str(files / "tide.csv"))
    assert answer["channels"] == ["north", "south"]
    assert np.shape(answer["values"]) == (6, 2)
    assert len(line(answer).splitlines()) == 6


def test_a_text_is_continued_the_same_every_time(files, folders, tmp_path):
    (tmp_path / "start.txt").write_text("line 7: the cat")
    first, again = (list(predict(str(folders / "language"), str(tmp_path / "start.txt"))) for _ in range(2))
    assert first == again
    assert first[0]["continuation"]
    assert first[0]["bits_per_byte"] > 0


def test_bits_per_byte_of_a_text_are_those_of_the_model(files, folders, tmp_path, data):
    text = "line 7: the cat sat"
    (tmp_path / "start.txt").write_text(text)
    model = saved.read(folders / "language").model
    ids = torch.tensor(list(text.encode()))
    with torch.no_grad():
        told = model(ids[None])[0, :-1].double().log_softmax(-1).gather(1, ids[1:, None]).sum()
    (answer,) = predict(str(folders / "language"), str(tmp_path / "start.txt"))
    assert answer["bits_per_byte"] == pytest.approx(-float(told) / math.log(2) / len(text), rel=1e-5)


def test_another_series_is_measured_in_the_old_scale(data, files, folders, tmp_path):
    """The same series in other units, shifted and stretched, is another task for a model that knows only one scale."""
    rows = (files / "tide.csv").read_text().splitlines()
    (tmp_path / "part.csv").write_text("\n".join(rows[:301]) + "\n")
    found = evaluate(str(folders / "series"), str(tmp_path / "part.csv"), None)
    assert found["split"] == "every window"
    d = data["series"]
    model, seen = saved.read(folders / "series").model, {}
    for part in (d.train, d.valid, d.test):
        seen.update(
            {s.split(":", 1)[1]: (x, y) for s, x, y in zip(part.source, part.inputs, part.targets, strict=True)}
        )
    picked = [seen[when] for when in sorted(seen)][: found["rows"]]
    examples = replace(d.test, inputs=[x for x, _ in picked], targets=[y for _, y in picked], source=[""] * len(picked))
    own = quality(model, replace(d, test=examples), "test").measure
    assert found["value"] == pytest.approx(own, rel=0.02)


def test_other_channels_are_refused(folders, tmp_path, files):
    text = (files / "tide.csv").read_text().replace("south", "west")
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(InputError, match="south"):
        evaluate(str(folders / "series"), str(tmp_path / "other.csv"), None)


def test_an_unknown_label_names_its_row(folders, tmp_path, files):
    lines = (files / "farm.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text(
        "\n".join([*lines[:3], lines[3].replace("millet", "oats").replace("rice", "oats")]) + "\n"
    )
    with pytest.raises(
        InputError, match=r"new.csv:4: the label 'oats' is none of the model's classes \(millet, rice\)"
    ):
        evaluate(str(folders / "table"), str(tmp_path / "new.csv"), None)


def test_data_without_labels_cannot_be_measured(folders, tmp_path, files):
    cells = [line.split(",") for line in (files / "farm.csv").read_text().splitlines()]
    lines = [",".join([*row[:3], row[4]]) for row in cells]
    (tmp_path / "bare.csv").write_text("\n".join(lines[:20]) + "\n")
    with pytest.raises(InputError, match="has no column 'crop'"):
        evaluate(str(folders / "table"), str(tmp_path / "bare.csv"), None)
    assert len(list(predict(str(folders / "table"), str(tmp_path / "bare.csv")))) == 19


def test_a_preparation_that_is_not_ours_is_refused(folders, tmp_path, data):
    from panformer.model import io

    found = saved.travels(data["table"], {})
    files = baselines.fit("majority class", data["table"])[0].files()
    io.publish(tmp_path / "bare", files)
    with pytest.raises(InputError, match=r"has no preparation.json"):
        saved.read(tmp_path / "bare")
    io.publish(tmp_path / "odd", {**files, saved.FILE: found[saved.FILE].replace(b'"classification"', b'"guessing"')})
    with pytest.raises(InputError, match="task"):
        saved.read(tmp_path / "odd")


@pytest.mark.parametrize("kind", ["table", "text", "image", "language"])
def test_an_optimised_copy_is_compared_on_rows_and_still_predicts(files, folders, kind, tmp_path, capsys):
    told = command(["optimize", str(folders / kind), "--data", str(files / NAMES[kind]), "--tolerance", "0.1",
                    "--for", "memory", "--json", "--out", str(tmp_path / "small")], capsys)  # fmt: skip
    facts = json.loads(told)
    assert facts["error"] <= 0.1 and facts["edits"], told
    known = {p.name for p in (folders / kind).iterdir()}
    assert {p.name for p in (tmp_path / "small").iterdir()} == known, "what travels with the model was lost"
    value = evaluate(str(tmp_path / "small"), str(files / NAMES[kind]), None)["value"]
    assert value == pytest.approx(evaluate(str(folders / kind), str(files / NAMES[kind]), None)["value"], abs=0.2)


def command(args, capsys):
    with pytest.raises(SystemExit) as done:
        main(args)
    out, err = capsys.readouterr()
    assert done.value.code == 0, err
    return out
