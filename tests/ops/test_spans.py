"""Hidden spans: how many, how long, and that source and target together are the text."""

import pytest
import torch

from panformer.core.errors import InputError
from panformer.ops.spans import hide, spans

MARKS = torch.arange(258, 158, -1)  # the last ids of a vocabulary of 256 bytes and 3 specials, downwards


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def joined(source, target, marks):
    """The text again: every mark of the source is replaced by what follows it in the target."""
    marks, found, now = set(marks.tolist()), {}, None
    for i in target.tolist():
        if i in marks:
            now = i
            found[now] = []
        else:
            found[now].append(i)
    return [j for i in source.tolist() for j in found.get(i, [i])]


@pytest.mark.parametrize("length", [2, 3, 17, 400])
@pytest.mark.parametrize(("rate", "mean"), [(0.15, 20.0), (0.15, 3.0), (0.9, 1.0)])
def test_source_and_target_are_the_text(length, rate, mean):
    ids = torch.randint(0, 100, (length,), generator=rng())
    cuts = spans(length, rate, mean, rng(1))
    marks = MARKS if len(cuts) <= len(MARKS) else torch.arange(1000, 1000 + length)
    source, target = hide(ids, cuts, marks)
    assert joined(source, target, marks) == ids.tolist()
    hidden = min(max(round(rate * length), 1), length - 1)
    assert int((cuts[:, 1] - cuts[:, 0]).sum()) == hidden
    assert len(source) == length - hidden + len(cuts) and len(target) == hidden + len(cuts)


def test_spans_of_bytes_are_twenty_long_on_average():
    cuts = spans(1000, 0.15, 20.0, rng())
    assert len(cuts) == 8  # round(150 / 20)
    assert (cuts[:, 0] > torch.cat([torch.tensor([0]), cuts[:-1, 1]])).all(), "a shown piece stands before each span"
    assert cuts[-1, 1] == 1000


def test_every_way_to_cut_is_as_likely():
    """Three spans of four tokens: one of them has two, each in a third of the draws."""
    g = rng()
    longer = torch.stack([(c := spans(8, 0.5, 4 / 3, g))[:, 1] - c[:, 0] for _ in range(3000)]).argmax(1)
    counts = torch.bincount(longer, minlength=3).double()
    assert ((counts - 1000).square() / 1000).sum() < 13.8, "chi-squared with 2 degrees of freedom, 0.1 %"


def test_drawn_from_the_generator_alone():
    assert torch.equal(spans(300, 0.15, 20.0, rng(4)), spans(300, 0.15, 20.0, rng(4)))
    assert not torch.equal(spans(300, 0.15, 20.0, rng(4)), spans(300, 0.15, 20.0, rng(5)))


def test_what_cannot_be_hidden_is_refused():
    with pytest.raises(InputError, match="1 tokens has no span"):
        spans(1, 0.15, 20.0, rng())
    with pytest.raises(InputError, match="2 spans need as many marks, not 1"):
        hide(torch.arange(9), torch.tensor([[1, 2], [4, 5]]), MARKS[:1])
