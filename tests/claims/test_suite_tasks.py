"""Tasks of the suites against oracles of their own."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panformer.claims import registry, suites
from panformer.claims.tasks import listops, retrieval
from panformer.claims.tasks._base import SKIP
from panformer.claims.tasks._text import documents
from panformer.core.errors import InputError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def task(use, **options):
    return registry.task({"use": use, **options})


def rows(use, count=64, **options):
    batch = task(use, **options).batch(rng(), count)
    lengths = torch.full((count,), batch.x.shape[1]) if batch.lengths is None else batch.lengths
    return [(x[:n].tolist(), y[:n].tolist()) for x, y, n in zip(batch.x, batch.y, lengths.tolist(), strict=True)]


def test_words_of_two_elements_are_parity():
    for x, y in rows("words", order=2):
        assert y == [sum(x[: i + 1]) % 2 for i in range(len(x))]


@pytest.mark.parametrize("order", [3, 5])
def test_words_of_permutations_move_things(order):
    from itertools import permutations

    elements = list(permutations(range(order)))
    for x, y in rows("words", 8, group="symmetric", order=order, length=6):
        for i in range(len(x)):
            things = list(range(order))
            for move in x[: i + 1]:
                things = [elements[move][t] for t in things]
            assert tuple(things) == elements[y[i]]


def test_sort_asks_the_numbers_in_order():
    for x, y in rows("sort", low=2, high=6):
        n = len(x) // 2
        assert x[n:] == [32] * n and y[:n] == [SKIP] * n and y[n:] == sorted(x[:n])


def test_regression_is_answered_by_least_squares():
    batch = task("regression", dims=4, pairs=6).batch(rng(), 64)
    known, query = batch.x[:, :-1].double(), batch.x[:, -1, :4].double()
    w = torch.linalg.lstsq(known[..., :4], known[..., 4:]).solution[..., 0]
    assert torch.allclose((w * query).sum(-1), batch.y.double(), atol=1e-4) and (batch.x[:, -1, 4] == 0).all()
    assert task("regression").batch(rng(), 4096).y.var() == pytest.approx(1, rel=0.1)


def test_phonebook_asks_the_whole_number():
    for x, y in rows("phonebook", entries=5, digits=3):
        book = {x[i]: x[i + 1 : i + 4] for i in range(0, 20, 4)}
        assert y[:20] == [SKIP] * 20 and y[20:] == book[x[20]] and x[21:] == book[x[20]][:-1] and len(book) == 5


def test_fuzzy_recall_spells_a_value_and_its_end():
    for x, y in rows("fuzzy_recall", vocab=16, pairs=4):
        words, kind = [], None
        for token in x:
            if (token < 8) != kind:
                words.append([])
                kind = token < 8
            words[-1].append(token)
        asked = [t for t in y if t != SKIP]
        key = words[8]
        book = {tuple(words[i]): words[i + 1] for i in range(0, 8, 2)}
        assert asked == [*book[tuple(key)], 16] and (words[9:] or [[]])[0] == asked[:-1]


def test_memorised_values_are_those_of_one_dictionary():
    book: dict[int, int] = {}
    for x, y in rows("memorise"):
        for key, blank, skip, value in zip(x[::2], x[1::2], y[::2], y[1::2], strict=True):
            assert blank == 128 and skip == SKIP and book.setdefault(key, value) == value
    assert rows("memorise", 8) != rows("memorise", 8, dictionary=1)


def test_noisy_recall_without_its_noise_is_recall():
    for x, y in rows("recall", vocab=16, pairs=12, noise=2):
        plain = [t for t in x if t < 16]
        asked = [a for t, a in zip(x, y, strict=True) if t < 16]
        book: dict[int, int] = {}
        for i in range(0, len(plain), 2):
            assert asked[i] == book.get(plain[i], SKIP)
            if i + 1 < len(plain):
                book[plain[i]] = plain[i + 1]
        assert all(a == SKIP for t, a in zip(x, y, strict=True) if t >= 16)


def test_after_the_first_only_neighbours_are_swapped():
    from itertools import permutations

    elements = list(permutations(range(4)))
    for x, y in rows("words", 64, group="symmetric", order=4, moves="swaps", length=6):
        for move, before, after in zip(x[1:], y, y[1:], strict=False):
            changed = [i for i in range(4) if elements[before][i] != elements[after][i]]
            assert sum(a != i for i, a in enumerate(elements[move])) == 2 and len(changed) == 2
    first = {x[0] for x, _ in rows("words", 512, group="symmetric", order=4, moves="swaps", length=2)}
    assert len(first) == 24
    with pytest.raises(InputError, match="swaps are of things"):
        task("words", moves="swaps")


def test_every_value_belongs_to_as_many_keys():
    told = {(k, v) for x, y in rows("memorise", 512, keys=64) for k, v in zip(x[::2], y[1::2], strict=True)}
    assert len(told) == 64 and {sum(v == value for _, v in told) for value in range(16)} == {4}


def value(words):
    """The value of a prefix expression by the published rules, and how many operators lie above each other."""
    head = words.pop(0)
    if head < 10:
        return head, 0
    values, deep = [], 0
    while words[0] != listops.CLOSE:
        inner, below = value(words)
        values.append(inner)
        deep = max(deep, below)
    words.pop(0)
    assert 2 <= len(values) <= 10
    rule = {"MAX": max, "MIN": min, "MED": lambda v: int(statistics.median(v)), "SUM": lambda v: sum(v) % 10}
    return rule[{v: k for k, v in listops.OPS.items()}[head]](values), deep + 1


@pytest.mark.parametrize(("high", "size"), [(48, 64), (200, 16), (2000, 4)])
def test_published_expressions_have_their_values_and_sizes(high, size):
    t = registry.task(suites.find("listops").at(high))
    batch = t.batch(rng(), size)
    for x, y, n in zip(batch.x.tolist(), batch.y.tolist(), batch.lengths.tolist(), strict=True):
        words = x[:n]
        found, deep = value(words)
        assert found == y and not words and high // 4 < n <= high and deep < 10
    again = t.batch(rng(), size)
    assert torch.equal(batch.x, again.x) and torch.equal(batch.y, again.y)


def test_published_arguments_are_expressions_once_in_four():
    batch = task("listops", grammar="arena", low=4, high=4000, depth=3, arms=6).batch(rng(), 1500)
    nested = total = 0
    for x, n in zip(batch.x.tolist(), batch.lengths.tolist(), strict=True):
        depth = 0
        for token in x[:n]:
            if token != listops.CLOSE and depth == 1:
                nested, total = nested + (token > 10), total + 1
            depth += (token > 10) - (token == listops.CLOSE)
    assert nested / total == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("source", ["docs", "code"])
def test_pieces_are_of_one_document_or_of_two_and_the_test_has_its_own(source):
    t = task("retrieval", source=source, length=60)
    texts = documents(source)
    for batch, side in ((t.batch(rng(), 24), False), (t.test(rng(1), 24), True)):
        assert batch.x.shape == (24, 121) and (batch.x[:, 60] == 256).all() and 0 < batch.y.sum() < 24
        for x, y in zip(batch.x, batch.y.tolist(), strict=True):
            one, two = bytes(x[:60].tolist()), bytes(x[61:].tolist())
            homes = [{i for i, raw in enumerate(texts) if piece in raw} for piece in (one, two)]
            assert all(homes) and all(side in {i % 5 == 0 for i in home} for home in homes)
            assert bool(homes[0] & homes[1]) == y or max(map(len, homes)) > 1, "files repeat a line here and there"


@pytest.mark.parametrize(("length", "least"), [(16, 0.93), (64, 0.98)])
def test_counts_of_two_pieces_tell_whether_they_are_of_one_drawn_document(length, least):
    """The answer of a cosine above the threshold that is best in training; the shorter pieces leave some open."""
    t = task("retrieval", source="drawn", length=length)

    def found(batch):
        one, two = (
            torch.nn.functional.one_hot(x, 256).sum(1).float() for x in (batch.x[:, :length], batch.x[:, length + 1 :])
        )
        return torch.cosine_similarity(one, two), batch.y == 1

    (near, same), (tested, truth) = found(t.batch(rng(), 1000)), found(t.test(rng(1), 1000))
    cut = max(near.sort().values[::10], key=lambda at: float(((near > at) == same).float().mean()))
    assert least < float(((tested > cut) == truth).float().mean()) < 1
    assert (t.batch(rng(), 4).x[:, length] == 256).all()


@given(st.integers(2, 300), st.integers(0, 50), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_two_pieces_of_a_document_never_overlap(length, room, seed):
    one, two = retrieval._apart(2 * length + room, length, rng(seed))
    assert abs(one - two) >= length and min(one, two) >= 0 and max(one, two) + length <= 2 * length + room


def test_documents_that_are_too_short_are_told():
    with pytest.raises(InputError, match="too few"):
        task("retrieval", source="docs", length=100_000).batch(rng(), 1)


HASHES = {
    "memorise": "92b209decfe4d978",
    "pathfinder": "5791b72545d9d455",
    "compression": "c1d10954e5704845",
    "listops": "6145a0b8f3bb4219",
    "words": "179e18b1f7b8cffe",
    "sort": "d350ae7a2b5f0c4d",
    "phonebook": "baadbc7ef58e9f69",
    "fuzzy_recall": "05b08bf05fe05381",
    "recall": "fb5921e5283e9c2c",
    "mqar": "14d703c0a5ee2d05",
}


@pytest.mark.parametrize("use", sorted(HASHES))
def test_the_first_batch_of_a_drawn_task_stays_what_it_was(use):
    import hashlib

    batch = task(use).batch(rng(), 8)
    assert hashlib.sha256(batch.x.numpy().tobytes() + batch.y.numpy().tobytes()).hexdigest()[:16] == HASHES[use]
