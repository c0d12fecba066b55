"""Suites name tasks that exist, at lengths that they take, and say what a constant answer reaches on them."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import pytest
import torch

from panformer.claims import registry, suites
from panformer.claims.tasks._base import SKIP
from panformer.compare.plan import plans
from panformer.core.errors import EnvironmentGap, InputError
from panformer.model.build import build
from panformer.papers.schema import Train
from panformer.train.given import given

EVERY = [entry for suite in suites.SUITES.values() for entry in suite.entries]
NAMES = [entry.name for entry in EVERY]
GUESSED = [(e, n) for e in EVERY if e.chance is not None for n in dict.fromkeys((*e.lengths, *e.tests))]


def test_names_are_unique_and_found() -> None:
    assert len({*NAMES, *suites.SUITES}) == len(NAMES) + len(suites.SUITES)
    assert all(suites.find(e.name) is e for e in EVERY)
    assert all(suites.find(name) is suite for name, suite in suites.SUITES.items())
    with pytest.raises(InputError, match="did you mean 'listops'"):
        suites.find("listop")


def made(entry: suites.Entry, length: int) -> registry.Task:
    try:
        task = registry.task(entry.at(length))
        task.ends()
        return task
    except EnvironmentGap as absent:
        pytest.skip(str(absent))


@pytest.mark.parametrize("entry", EVERY, ids=NAMES)
def test_an_entry_is_a_task_at_every_length(entry: suites.Entry) -> None:
    Train(**entry.train)
    assert entry.lengths == tuple(sorted(set(entry.lengths))) and entry.about and entry.source
    tasks = [made(entry, n) for n in sorted({*entry.lengths, *entry.published})]
    assert len({str(t.dump()) for t in tasks}) == len(tasks)
    assert tasks[0].lower_is_better == (entry.chance is None)


def test_the_longest_published_retrieval_has_documents() -> None:
    assert registry.task({"use": "retrieval", "length": 4000}).test(torch.Generator(), 2).x.shape == (2, 8001)


def constant(task: registry.Task, count: int) -> float:
    """The accuracy of the answer that half of the examples have most often, on the other half."""
    rng = torch.Generator().manual_seed(11)
    halves: list[Counter[object]] = [Counter(), Counter()]
    while sum(map(Counter.total, halves)) < count:
        for side in halves:
            batch = task.test(rng, 64)
            assert batch.y is not None
            side.update(answers(task, batch.y))
    best = halves[0].most_common(1)[0][0]
    return halves[1][best] / halves[1].total()


def answers(task: registry.Task, y: torch.Tensor) -> list[object]:
    """What is right or wrong as one: whole sequences of answers where all must be right, or single ones."""
    if y.dim() == 2 and task.score(torch.zeros(*y.shape, int(y.max()) + 1), y)[1] == len(y):
        return [tuple(v for v in row if v != SKIP) for row in y.tolist()]
    return y[y != SKIP].tolist()


@pytest.mark.parametrize(("entry", "length"), GUESSED, ids=[f"{e.name}-{n}" for e, n in GUESSED])
def test_chance_is_what_a_constant_answer_reaches(entry: suites.Entry, length: int) -> None:
    told, task = entry.guess(length), made(entry, length)
    assert told is not None
    count = 600 if entry.name == "pathfinder" else 6000
    assert constant(task, count) == pytest.approx(told, abs=4 * math.sqrt(max(told, 1e-3) * (1 - told) / (count / 2)))


@torch.no_grad()
@pytest.mark.parametrize("entry", [e for e in EVERY if e.chance is not None], ids=lambda e: e.name)
def test_a_model_that_never_learned_is_not_above_chance(entry: suites.Entry) -> None:
    n = entry.lengths[0]
    told, task, rng, rows = entry.guess(n), made(entry, n), torch.Generator().manual_seed(12), 200
    assert told is not None
    (asked,) = plans(entry.name, "attention", (n,), (32,), 2, "parameters", (3e-3,), None, None, least=1)
    model = build(asked.spec("attention", asked.cells[0]), seed=1).eval()
    read, target = given(task.goal, task.test(rng, rows), rng, torch.device("cpu"))
    right, count = task.score(model(*read), target)
    assert right / count < told + 4 * math.sqrt(max(told, 1e-3) * (1 - told) / rows)


def test_a_chance_that_is_wrong_is_seen() -> None:
    listops = suites.find("listops")
    assert isinstance(listops, suites.Entry)
    assert constant(registry.task(listops.at(96)), 6000) > 0.1 + 4 * math.sqrt(0.1 * 0.9 / 3000)


def test_chance_is_told_for_lengths_that_were_not_listed() -> None:
    entry = suites.find("addition")
    assert isinstance(entry, suites.Entry) and isinstance(entry.chance, tuple)
    assert [entry.guess(n) for n in (3, 4, 5, 40)] == [entry.chance[i] for i in (0, 0, 1, 2)]


def test_suites_are_read_without_torch() -> None:
    code = "import sys, panformer.claims.suites; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
