"""Span corruption: source and answer interleave back to the text, exactly as much is cut out as is said."""

from itertools import product

import pytest
import torch

from panformer import build
from panformer.claims.tasks._base import Batch
from panformer.core.errors import InputError
from panformer.core.layout import Layout, pack, pad
from panformer.core.part import config
from panformer.objectives.span_corruption import _parts
from panformer.train.loop import compute

TOP, END, START = 383, 1, 0


def goal(**options):
    return config("objectives", {"use": "span_corruption", "sentinel": TOP, **options}).build()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def text(n, seed=0):
    return torch.randint(3, 259, (n,), generator=rng(seed))


def runs(ids):
    """The sentinels of a row in their order, and what stands after each; what stands before the first is at [0]."""
    marks, after = [], [[]]
    for i in ids:
        if i > 258:
            marks.append(i)
            after.append([])
        else:
            after[-1].append(i)
    return marks, after


def joined(source, answer):
    """The text, with every sentinel of the source replaced by what the answer says after it."""
    marks, kept = runs(source)
    again, spans = runs(answer)
    assert marks == again == list(range(TOP, TOP - len(marks), -1)) and spans[0] == [] and kept[-1] == []
    assert all(kept[:-1]) and all(spans[1:]), "no piece is empty"
    return [i for pair in zip(kept[:-1], spans[1:], strict=True) for i in (*pair[0], *pair[1])]


@pytest.mark.parametrize(("n", "span"), product((2, 3, 7, 20, 64, 500), (1.0, 3.0, 20.0)))
def test_source_and_answer_interleave_back_to_the_text(n, span):
    for seed in range(5):
        source, answer = goal(span=span).split(text(n), rng(seed))
        assert joined(source.tolist(), answer.tolist()) == text(n).tolist()


@pytest.mark.parametrize(
    ("n", "rate", "span", "cut", "spans"),
    [
        (400, 0.15, 20.0, 60, 3), (400, 0.15, 3.0, 60, 20), (1000, 0.15, 20.0, 150, 8), (100, 0.5, 1.0, 50, 50),
        (10, 0.15, 3.0, 2, 1), (6, 0.15, 20.0, 1, 1), (2, 0.15, 3.0, 1, 1), (3, 0.9, 1.0, 2, 1), (4, 0.01, 1.0, 1, 1),
    ],
)  # fmt: skip
def test_exactly_as_much_is_cut_out_as_is_said(n, rate, span, cut, spans):
    for seed in range(5):
        source, answer = goal(rate=rate, span=span).split(text(n), rng(seed))
        marks, told = runs(answer.tolist())
        assert len(marks) == spans and sum(map(len, told)) == cut
        assert len(source) == n - cut + spans and len(answer) == cut + spans


def test_there_are_no_more_spans_than_sentinels():
    source, answer = goal(rate=0.5, span=1.0, sentinels=4).split(text(40), rng())
    assert joined(source.tolist(), answer.tolist()) == text(40).tolist()
    assert len(runs(source.tolist())[0]) == 4 and len(answer) == 24


def test_every_way_to_cut_is_as_likely():
    counts = {}
    for seed in range(6000):
        parts = tuple(_parts(5, 3, rng(seed)))
        counts[parts] = counts.get(parts, 0) + 1
    assert set(counts) == {p for p in product(range(1, 5), repeat=3) if sum(p) == 5}
    assert all(abs(c - 1000) < 5 * (6000 * 1 / 6 * 5 / 6) ** 0.5 for c in counts.values()), counts


def test_a_seed_decides_the_spans():
    one, two, other = (goal(span=20).split(text(400), rng(s)) for s in (1, 1, 2))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1]) and not torch.equal(one[0], other[0])


def test_nothing_is_cut_out_of_a_single_token():
    source, answer = goal().split(text(1), rng())
    assert torch.equal(source, text(1)) and answer.tolist() == [-100]
    source, answer = goal(end=END).split(text(1), rng())
    assert source.tolist() == [*text(1).tolist(), END] and answer.tolist() == [END]
    assert [side.tolist() for side in goal(end=END).split(text(0), rng())] == [[END], [END]], "an empty text"


@pytest.mark.parametrize("form", ["packed", "right", "left"])
def test_texts_of_a_batch_are_apart_in_every_layout(form):
    lengths = (40, 1, 7)
    texts = [text(n, n) for n in lengths]
    raw, at = pack(texts) if form == "packed" else pad(texts, side=form)
    raw[~at.valid] = 2**40
    objective, seed = goal(end=END, start=START), rng(3)
    (x, source), target = objective.corrupt(raw, at, rng(3))
    for i, one in enumerate(texts):
        want, told = objective.split(one, seed)
        assert torch.equal(source.x[i][source.at.valid[i]], want) and int(want[-1]) == END
        assert torch.equal(target[i][target[i] != -100], told)
        assert x.x[i][x.at.valid[i]].tolist() == [START, *told[:-1].tolist()], "the decoder is one token behind"
    assert torch.equal(x.at.valid, target != -100)


def test_its_loss_trains_an_encoder_decoder():
    attention = {"use": "attention", "heads": 2}
    side = {"width": 16, "embed": {"use": "tokens", "vocab": 384}}
    spec = {
        **side, "causal": True, "position": {"use": "t5", "two_sided": False},
        "schedule": [{"mixer": attention, "cross": {"use": "cross_attention", "heads": 2}, "channel": "mlp"}],
        "head": {"use": "lm", "vocab": 384}, "encoder": {**side, "schedule": [{"mixer": attention}]},
    }  # fmt: skip
    model, objective = build(spec, seed=0), goal(span=20.0, end=END)
    texts = [text(n, n) for n in (40, 1, 60)]
    batch = Batch(pad(texts).x, torch.tensor([40, 1, 60]))
    got, _ = compute(model, objective, batch, rng(3))
    seed, apart = rng(3), []
    for one in texts:
        source, answer = objective.split(one, seed)
        out = model(torch.cat([torch.tensor([0]), answer[:-1]])[None], source=source[None])[0]
        apart.append(torch.nn.functional.cross_entropy(out, answer, reduction="none"))
    torch.testing.assert_close(got["loss"], torch.cat(apart).mean())
    assert got["count"] == sum(len(a) for a in apart)


def test_what_it_cannot_do_is_told():
    with pytest.raises(InputError, match="100 sentinels from id 98 down"):
        goal(sentinel=98)
    with pytest.raises(InputError, match="ids \\(B, T\\) without labels"):
        goal().corrupt((text(4)[None], torch.tensor([1])), Layout.dense(1, 4), rng())
    plain = build({"width": 8, "embed": {"use": "tokens", "vocab": 384}, "schedule": [{"channel": "mlp"}]})
    with pytest.raises(InputError, match="without an encoder"):
        compute(plain, goal(), Batch(text(20)[None]), rng())
    with pytest.raises(InputError, match="the batch brings one too"):
        compute(plain, goal(), Batch(text(20)[None], source=pad([text(4)])), rng())
