"""Every task asks what it says, the same for the same seed, and a rule that knows the answer scores fully."""

import math

import pytest
import torch

from panformer.claims import registry
from panformer.claims.arms import spec_of
from panformer.claims.tasks import listops
from panformer.claims.tasks._base import SKIP, Feed
from panformer.claims.tasks._text import MASK, streams
from panformer.core.errors import InputError
from panformer.core.spec import read
from panformer.papers.schema import Change

ALL = registry.modules("tasks")
MODEL = {"width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def task(use, **options):
    return registry.task({"use": use, **options})


@pytest.mark.parametrize("use", ALL)
def test_a_seed_gives_the_same_examples(use):
    one, two, other = (task(use).batch(rng(s), 8) for s in (1, 1, 2))
    assert torch.equal(one.x, two.x) and (one.y is None or torch.equal(one.y, two.y))
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)


@pytest.mark.parametrize("use", ALL)
def test_a_model_made_for_the_task_trains_and_is_measured(use):
    from panformer.claims.run import train_once
    from panformer.papers.schema import Train

    t = task(use)
    t.tests = 64
    done = train_once(spec_of(MODEL, Change(), t.ends()), t, 0, Train(steps=2, batch=4))
    assert math.isfinite(done.measure) and done.parameters > 0 and len(done.curve) == 2
    assert read(spec_of(MODEL, Change(), t.ends())).hash == done.spec_hash


@pytest.mark.parametrize("use", ALL)
def test_training_and_test_differ(use):
    t = task(use)
    assert t.dump()["use"] == use and registry.task(t.dump()).dump() == t.dump()
    assert t.tests >= 64 and 0 <= t.resolution <= 1 / 64


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"use": "copyy"}, "did you mean 'copy'?"),
        ({"use": "copy", "hihg": 3}, "did you mean 'high'?"),
        ({"use": "copy", "low": 9, "high": 3}, "low is above high"),
        ({"use": "selective_copy", "symbols": 9, "length": 3}, "more symbols"),
        ({"use": "text", "form": "both"}, "task text.form"),
        ({}, "unknown task"),
    ],
)
def test_a_wrong_task_is_told_in_one_line(tree, says):
    with pytest.raises(InputError) as fault:
        registry.task(tree)
    assert says in str(fault.value) and "\n" not in str(fault.value)


def test_recall_asks_for_the_value_of_each_key():
    batch = task("mqar", pairs=6, vocab=20).batch(rng(), 16)
    for x, y in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        value = dict(zip(x[0:12:2], x[1:12:2], strict=True))
        assert len(value) == 6 and y[:12] == [SKIP] * 12
        assert y[12:] == [value[key] for key in x[12:]]


def test_recall_of_repeated_keys_asks_for_those_seen_before():
    batch = task("recall", vocab=10, pairs=12).batch(rng(), 16)
    for x, y in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        value = {}
        for i in range(0, 23, 2):
            assert y[i] == value.get(x[i], SKIP)
            if i < 22:
                assert y[i + 1] == SKIP and value.setdefault(x[i], x[i + 1]) == x[i + 1] >= 5


@pytest.mark.parametrize("low", [1, 5])
def test_copy_asks_for_the_string_again(low):
    t = task("copy", vocab=5, low=low, high=7)
    batch = t.batch(rng(), 64)
    assert set(((batch.lengths - 1) // 2).tolist()) == set(range(low, 8))
    for x, y, n in zip(batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist(), strict=True):
        x, text = x[:n], x[1 : 1 + n // 2]
        assert x == [5, *text, 6, *text[:-1]] and y[: n // 2 + 1] == [SKIP] * (n // 2 + 1)
        assert y[n // 2 + 1 : n] == text and set(y[n:]) <= {SKIP}
    assert task("copy", test=11).test(rng(), 4).lengths.tolist() == [23] * 4


def test_copy_scores_symbols_or_whole_strings():
    for score, want in (("symbol", (5.0, 6.0)), ("string", (1.0, 2.0))):
        t = task("copy", vocab=5, low=3, high=3, score=score)
        y = torch.tensor([[SKIP, 1, 2, 3], [SKIP, 4, 0, 2]])
        out = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 3], [0, 4, 0, 1]]), 7).float()
        assert t.score(out, y) == want


def test_induction_asks_what_followed_the_marker():
    batch = task("induction", vocab=9, length=12).batch(rng(), 32)
    for x, y in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        assert x.count(9) == 2 and x[-1] == 9 and y[-1] == x[x.index(9) + 1] != 9 and y[:-1] == [SKIP] * 11


@pytest.mark.parametrize("spread", [True, False])
def test_selective_copy_asks_for_the_symbols_in_order(spread):
    batch = task("selective_copy", vocab=4, symbols=3, length=9, spread=spread).batch(rng(), 32)
    for x, y in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        told = [s for s in x[:9] if s < 4]
        assert y == [SKIP] * 9 + told and x[9:] == [5] * 3 and len(told) == 3
        assert spread or x[:3] == told


def test_listops_values_are_right():
    names = {v: k for k, v in listops.OPS.items()}
    rule = {"MAX": max, "MIN": min, "MED": lambda v: sorted(v)[len(v) // 2], "SUM": lambda v: sum(v) % 10}
    batch = task("listops").batch(rng(), 64)

    def value(tokens):
        head = tokens.pop(0)
        if head < 10:
            return head
        values = []
        while tokens[0] != listops.CLOSE:
            values.append(value(tokens))
        tokens.pop(0)
        return rule[names[head]](values)

    for x, y, n in zip(batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist(), strict=True):
        tokens = x[:n]
        assert value(tokens) == y and not tokens and 8 <= n <= 48


def test_digits_keep_their_test_images_apart():
    from panformer.claims.tasks import digits

    t = task("digits", form="pixels")
    pixels, _ = digits._load()
    train = {tuple(p) for p in t.batch(rng(), 2000).x.tolist()}
    held = {tuple(p) for p in pixels[::5].tolist()}
    assert not train & {p for p in map(tuple, t.test(rng(), 500).x.tolist())} - {p for p in held if p in train}
    assert len(train & held) <= 2, "only twins of test images, if any"


def test_digits_drawn_see_only_earlier_pixels():
    batch = task("digits", form="draw").batch(rng(), 4)
    assert torch.equal(batch.x[:, 1:], batch.y[:, :-1]) and (batch.x[:, 0] == 17).all()


@pytest.mark.parametrize("source", ["docs", "code"])
def test_text_of_the_test_is_not_trained_on(source):
    train, test = (bytes(side.tolist()) for side in streams(source))
    assert len(train) > 3 * len(test) > 100_000
    places = range(0, len(test) - 200, len(test) // 200)
    known = [place for place in places if test[place : place + 200] in train]
    assert len(known) <= 2, f"{len(known)} of 200 pieces of the test are trained on; code repeats itself a little"


def test_masked_text_asks_for_what_it_hides():
    t = task("text", form="masked", rate=0.3)
    raw = t.batch(rng(), 64).x
    seen, target = t.goal.corrupt(raw, _dense(raw), rng())
    asked = target != SKIP
    assert 0.27 < asked.float().mean() < 0.33 and torch.equal(target[asked], raw[asked])
    assert torch.equal(seen[~asked], raw[~asked]) and 0.7 < (seen[asked] == MASK).float().mean() < 0.9


def _dense(x):
    from panformer.core.layout import Layout

    return Layout.dense(*x.shape)


def test_text_read_beyond_the_trained_length_counts_only_there():
    t = task("text", length=8, test=12)
    out = torch.zeros(2, 12, 258)
    target = torch.zeros(2, 12, dtype=torch.int64)
    total, count = t.score(out, target)
    assert count == 8 and total == pytest.approx(8 * math.log2(258), rel=1e-5)


def test_few_labels_are_the_same_few():
    t = task("sections", examples=5)
    feed = iter(Feed(t, 32, rng(3)))
    seen = {tuple(row) for _ in range(3) for row in next(feed).x.tolist()}
    assert len(seen) <= 5
    assert {tuple(r) for r in task("sections", examples=5).batch(rng(4), 64).x.tolist()}.isdisjoint(seen)


def test_a_lagged_series_follows_its_neighbour():
    c = {"variates": 4, "lookback": 40, "horizon": 5, "noise": 0.0}
    batch = task("lagged", coupling=1.0, **c).batch(rng(), 3)
    torch.testing.assert_close(batch.y[:, :, 1:], batch.x[:, -5:, :-1])
    alone = task("lagged", coupling=0.0, **c).batch(rng(), 3)
    assert (alone.y[:, :, 1:] - alone.x[:, -5:, :-1]).abs().mean() > 0.1


def test_a_feed_resumes_where_it_was():
    t = task("mqar")
    feed = Feed(t, 4, rng())
    rows = iter(feed)
    next(rows)
    kept = feed.state()
    want = next(rows).x
    again = Feed(t, 4, rng(9))
    again.restore(kept)
    assert torch.equal(next(iter(again)).x, want)
