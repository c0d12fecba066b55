"""Baselines equal the libraries that fitted them, also after saving; n-grams equal a count by hand."""

from collections import Counter

import numpy as np
import pytest
import torch

from panformer.choose import baselines, features, plain, saved
from panformer.choose.ngram import fit_ngram
from panformer.measure.quality import quality


def by_hand(history: list[int], word: int, texts: list[list[int]], vocab: int, longest: int) -> float:
    """Witten-Bell by its definition, from the empty context up."""
    p = 1 / vocab
    for n in range(longest + 1):
        if n > len(history):
            break
        context = history[len(history) - n :]
        after = Counter(t[i + n] for t in texts for i in range(len(t) - n) if t[i : i + n] == context)
        if after:
            p = (after[word] + len(after) * p) / (sum(after.values()) + len(after))
    return p


def test_ngram_equals_the_definition():
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 4, size=n).tolist() for n in (9, 3, 1, 14)]
    model = fit_ngram([torch.tensor(t) for t in texts], 5, 3)
    asked = [0, 3, 1, 1, 4, 2]
    found = model.next(np.array(asked))
    for t in range(len(asked)):
        for word in range(5):
            right = by_hand(asked[: t + 1], word, texts, 5, 2)
            assert found[t, word] == pytest.approx(right, abs=1e-12), f"P({word} | {asked[: t + 1]})"


def test_ngram_probabilities_sum_to_one(data):
    model = fit_ngram(list(data["language"].train.inputs), 258, 5)
    ids = data["language"].test.inputs[0][:50].numpy()
    assert np.abs(model.next(ids).sum(1) - 1).max() < 1e-9


def test_ngram_nats_equal_its_own_distribution(data):
    model = fit_ngram(list(data["language"].train.inputs), 258, 4)
    ids = data["language"].test.inputs[0][:200].numpy()
    for order in range(1, 5):
        p = model.cut(order).next(ids)[np.arange(199), ids[1:]]
        assert model.nats(ids)[order - 1] == pytest.approx(-np.log(p).sum(), rel=1e-9)


@pytest.mark.parametrize("kind", ["table", "regression", "text", "series", "language", "image", "frames"])
def test_saved_baselines_answer_the_same(data, kind, tmp_path):
    d = data[kind]
    for name in baselines.names(d):
        model, note, valid = baselines.fit(name, d)
        assert note
        saved.write(tmp_path / name, model, d, {})
        again = saved.read(tmp_path / name).model
        assert not list((tmp_path / name).glob("*.pkl"))
        assert quality(again, d, "valid", 7).measure == pytest.approx(valid.measure, rel=1e-6), f"{kind}: {name}"


def test_every_kind_of_baseline_was_covered(data):
    seen = {
        type(baselines.fit(n, data[k])[0]).kind
        for k in ("table", "series", "language")
        for n in baselines.names(data[k])
    }
    assert seen == set(plain.KINDS), f"never fitted: {set(plain.KINDS) - seen}"


def test_logistic_regression_equals_scikit_learn(data):
    from sklearn.linear_model import LogisticRegression

    d = data["table"]
    model, note, _ = baselines.fit("logistic regression", d)
    used = features.for_lines(d.task, d.train)
    x, y = features.rows(used, d.train), torch.stack(list(d.train.targets)).numpy()
    peer = LogisticRegression(C=float(note.split("C ")[1]), max_iter=300).fit(x, y)
    asked = torch.stack(list(d.test.inputs))
    ours = model(asked).double().softmax(-1).numpy()
    assert np.abs(ours - peer.predict_proba(features.rows(used, d.test))).max() < 1e-5


def test_nearest_neighbours_equal_scikit_learn(data):
    from sklearn.neighbors import KNeighborsRegressor

    d = data["regression"]
    model, _, _ = baselines.fit("nearest neighbours", d)
    used = features.for_lines(d.task, d.train)
    peer = KNeighborsRegressor(model.options["k"]).fit(features.rows(used, d.train), torch.stack(list(d.train.targets)))
    right = peer.predict(features.rows(used, d.test))
    assert np.abs(model(torch.stack(list(d.test.inputs))).numpy() - right).max() < 1e-5


def test_two_classes_of_trees_get_two_logits(data):
    model, _, _ = baselines.fit("LightGBM", data["table"])
    out = model(torch.stack(list(data["table"].test.inputs)))
    assert out.shape == (len(data["table"].test), 2)


def test_a_missing_number_and_a_category_differ_for_trees(data):
    d = data["table"]
    used = features.for_trees(d.task, d.train)
    cells = features.rows(used, d.train)
    names = list(d.task.columns)
    assert not np.isnan(cells[:, names.index("soil")]).any()
    assert np.isnan(cells[:, names.index("rain")]).any()


def test_naive_forecasts_are_what_was_seen():
    x = torch.arange(10.0)[None, :, None].expand(1, 10, 2)
    seasonal = plain.Naive(options={"season": 4, "horizon": 6})
    assert seasonal(x)[0, :, 0].tolist() == [6, 7, 8, 9, 6, 7]
    assert plain.Naive(options={"season": 1, "horizon": 3})(x)[0, :, 1].tolist() == [9, 9, 9]


def test_the_linear_forecast_finds_a_linear_rule(data):
    """A noise-free sine obeys x_t = 2 cos(w) x_(t-1) - x_(t-2), so a linear map of the past is exact."""
    from dataclasses import replace

    from panformer.data.base import Examples

    wave = torch.sin(torch.arange(600)[:, None] * torch.tensor([0.3, 0.3]))
    starts = range(0, 500)
    examples = Examples([wave[t : t + 20] for t in starts], [wave[t + 20 : t + 26] for t in starts], [""] * 500)
    d = replace(data["series"], train=examples, valid=examples, facts={**data["series"].facts, "naive_mae": [1.0, 1.0]})
    assert baselines.fit("linear forecast", d)[2].measure < 2e-3
