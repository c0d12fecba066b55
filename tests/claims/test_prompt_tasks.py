"""Tasks of prompts and of windows: rules that know the answer score fully, and what is far is far."""

import pytest
import torch

from panformer.claims import registry
from panformer.claims.tasks import grammar, prompts
from panformer.claims.tasks._base import SKIP


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def answer(kind, prompt, asked, before):
    """What a rule that reads the prompt says to one question; `before` are the questions up to it."""
    if kind in ("needle", "several"):
        return prompt[prompt.index(asked) + 1]
    if kind == "copy":
        return prompt[prompt.index(prompts.MARK) + len(before)]
    return prompts.SORT + (prompt.count(prompts.SORT + 1) > prompt.count(prompts.SORT))


@pytest.mark.parametrize("kind", prompts.KINDS)
def test_a_prompt_holds_its_answers(kind):
    task = registry.task({"use": "prompts", "kind": kind})
    length = task.config.length
    batch = task.test(rng(), 32)
    assert batch.x.shape == (32, length + prompts.ANSWERS) and int(batch.x.max()) < prompts.VOCAB
    assert (batch.y[:, :length] == SKIP).all(), "nothing is asked within the prompt"
    questions = 0
    for x, y in zip(batch.x.tolist(), batch.y.tolist(), strict=True):
        for i, right in enumerate(y):
            if right != SKIP:
                assert answer(kind, x[:length], x[i], x[length : i + 1]) == right
                questions += 1
    assert questions == 32 * {"needle": 1, "several": 8, "copy": 8, "count": 1}[kind]


def test_training_mixes_all_kinds_alike():
    y = registry.task({"use": "prompts"}).batch(rng(), 32).y
    assert ((y != SKIP).sum(1)).tolist() == [1] * 8 + [8] * 16 + [1] * 8


def test_verbs_agree_with_the_first_noun_and_endings_are_those_of_their_article():
    text, last, far = grammar.corpus().tolist(), None, []
    nouns: list[int] = []
    for i, token in enumerate(text):
        if grammar.NOUN <= token < grammar.VERB:
            nouns.append(token)
        elif grammar.VERB <= token < grammar.STEM:
            assert (token - grammar.VERB) // grammar.VERBS == (nouns[0] - grammar.NOUN) // grammar.NOUNS
        if not grammar.NOUN <= token < grammar.VERB:
            nouns = []
        if grammar.ENDING <= token < grammar.STOP:
            far.append((i - last[0], token == last[1]) if last else (99, True))
            last = (i, token)
    assert min(away for away, _ in far) > 16, "no window of 16 tokens has two endings"
    assert sum(same for _, same in far) / len(far) > (grammar.FORMS - 1) / grammar.FORMS


@pytest.mark.parametrize("ask", ["agreement", "analogy"])
def test_a_rule_that_knows_scores_fully_and_a_flat_one_does_not(ask):
    task = registry.task({"use": "grammar", "ask": ask})
    batch = task.test(rng(), 64)
    out = torch.zeros(*batch.x.shape, grammar.VOCAB)
    assert task.score(out, batch.y)[0] < 32
    for row, n in enumerate(batch.lengths.tolist()):
        x = batch.x[row, :n].tolist()
        if ask == "analogy":
            right = next(t for t in x if grammar.ENDING <= t < grammar.STOP)
        else:
            first = next(t for t in x if t >= grammar.NOUN)
            right = grammar.VERB + (first - grammar.NOUN) // grammar.NOUNS * grammar.VERBS
            right += (batch.y[row, n - 1].item() - grammar.VERB) % grammar.VERBS  # which verb, is not asked
        out[row, n - 1, right] = 1.0
    assert task.score(out, batch.y) == (64, 64)
