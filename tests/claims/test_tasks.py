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

CROSS = [{**MODEL["schedule"][0], "cross": {"use": "cross_attention", "heads": 2}}]


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
    model = {**MODEL, "encoder": MODEL, "schedule": CROSS} if "encoder" in t.ends() else MODEL
    done = train_once(spec_of(model, Change(), t.ends()), t, 0, Train(steps=2, batch=4))
    assert math.isfinite(done.measure) and done.parameters > 0 and len(done.curve) == 2
    assert read(spec_of(model, Change(), t.ends())).hash == done.spec_hash


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
        ({"use": "digits", "form": "pixels", "test": 12}, "form must be image"),
        ({"use": "digits", "test": 12, "ground": 10}, "smaller than the picture"),
        ({"use": "addition", "low": 9, "high": 3}, "low is above high"),
        ({"use": "addition", "high": 5, "test": 20, "hints": 20}, "more than the digits"),
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


@pytest.mark.parametrize("first", ["high", "low"])
@pytest.mark.parametrize("hints", [0, 12])
@pytest.mark.parametrize("base", [10, 3])
def test_addition_asks_for_the_sum(first, hints, base):
    t = task("addition", low=2, high=7, first=first, hints=hints, base=base)
    batch, each, begins = t.batch(rng(), 64), 2 if hints else 1, set()
    assert set(((batch.lengths - 1) // each // 3).tolist()) == set(range(2, 8))
    for x, y, n in zip(batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist(), strict=True):
        asked = [token for token in y if token != SKIP]
        told = [*x[:n], asked[-1]]
        assert told[-len(asked) :] == asked and y.index(asked[0]) == n - len(asked), "what comes next is asked"
        plus, equals = told.index(10), told.index(11)
        parts = [told[:plus], told[plus + 1 : equals], told[equals + 1 :]]
        if hints:
            rising = [p[0::2] if first == "low" else p[0::2][::-1] for p in parts]
            assert all(p == list(range(p[0], p[0] + len(p))) and min(p) >= 12 and max(p) < 24 for p in rising)
            assert rising[0] == rising[1] == rising[2][:-1], "digits of one place have one marker"
            begins.add(rising[0][0])
            parts = [p[1::2] for p in parts]
        a, b, c = (int("".join(map(str, p if first == "high" else p[::-1])), base) for p in parts)
        assert a + b == c and len(parts[2]) == len(parts[0]) + 1
    assert len(begins) > 3 or not hints, "markers begin anywhere"


def test_addition_scores_digits_or_whole_sums():
    for score, want in (("digit", (3.0, 4.0)), ("string", (1.0, 2.0))):
        t = task("addition", high=3, hints=5, score=score)
        y = torch.tensor([[SKIP, 12, 3, 13, 1], [SKIP, 13, 0, 14, 2]])
        out = torch.nn.functional.one_hot(torch.tensor([[0, 12, 3, 13, 1], [0, 12, 0, 14, 1]]), 17).float()
        assert t.score(out, y) == want


@pytest.mark.parametrize("use", [use for use in ALL if "test" in registry.task({"use": use}).Config.model_fields])
def test_what_only_the_test_reads_does_not_change_training(use):
    short = task(use)
    size = {"text": 256, "selective_copy": 64}.get(use, 12)
    far = task(use, test=size)
    assert short.training() == far.training() and short.dump() != far.dump()
    assert torch.equal(short.batch(rng(), 8).x, far.batch(rng(), 8).x)
    assert short.test(rng(), 8).x.shape != far.test(rng(), 8).x.shape


def test_places_ask_where_and_for_what_is_twice_as_far():
    which = task("places", length=6).batch(rng(), 5)
    assert (which.x == which.x[:, :1]).all() and which.y.tolist() == [list(range(6))] * 5
    even = task("places", form="even", length=7).batch(rng(), 5)
    for x, y in zip(even.x.tolist(), even.y.tolist(), strict=True):
        assert y == [x[1], x[3], x[5], *[SKIP] * 4]


def test_views_can_be_answered_by_bringing_frames_together():
    batch = task("views", points=4, colours=5).batch(rng(), 32)
    x, pose = batch.x.double(), batch.x[..., -12:].double().unflatten(-1, (3, 4))
    turn, moved = pose[..., :3], pose[..., 3:]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).double().expand_as(turn), rtol=0, atol=1e-5)
    assert (torch.linalg.det(turn) > 0).all()
    world = (turn.mT @ (x[..., :3, None] - moved))[..., 0]
    torch.testing.assert_close(world.norm(dim=-1), torch.ones(32, 8).double(), rtol=0, atol=1e-5)
    nearest = torch.cdist(world[:, 4:], world[:, :4]).argmin(-1)
    colour = x[:, :4, 3:8].argmax(-1)
    assert (batch.y[:, :4] == SKIP).all() and torch.equal(batch.y[:, 4:], colour.gather(1, nearest))
    assert (x[:, 4:, 3:8] == 0).all() and (x[:, 4:, 8] == 1).all() and (x[:, :4, 8] == 0).all()


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


def test_digits_of_the_test_are_enlarged_and_put_anywhere():
    plain, moved = task("digits").test(rng(), 40), task("digits", ground=13).test(rng(), 40)
    assert moved.x.shape == (40, 1, 13, 13) and torch.equal(plain.y, moved.y)
    inside = torch.nn.functional.unfold(moved.x, 8).mT  # (B, places, 64)
    found = (inside == plain.x.flatten(1)[:, None]).all(-1)
    assert found.any(-1).all() and len(found.float().argmax(-1).unique()) > 10
    assert task("digits", test=12, ground=16).test(rng(), 2).x.shape == (2, 1, 16, 16)
    torch.testing.assert_close(moved.x.add(1).sum((1, 2, 3)), plain.x.add(1).sum((1, 2, 3)))


def test_permuted_digits_are_the_same_pixels_in_one_other_order_and_may_lack_their_end():
    rows, other = (task("digits", form="pixels", order=o).batch(rng(), 8) for o in ("rows", "permuted"))
    assert torch.equal(rows.x.sort(1).values, other.x.sort(1).values) and torch.equal(rows.y, other.y)
    assert not torch.equal(rows.x, other.x)
    again = task("digits", form="pixels", order="permuted", withheld=0.3)
    whole, cut = other.x, again.test(rng(), 8).x
    assert cut.shape == (8, 45) and again.batch(rng(), 8).x.shape == whole.shape
    assert torch.equal(cut, task("digits", form="pixels", order="permuted").test(rng(), 8).x[:, :45])
    with pytest.raises(InputError, match="pixels"):
        task("digits", form="image", withheld=0.3)


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
