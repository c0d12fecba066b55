"""Bags of digits: the label is right, images of the test are none of training, and counting solves it."""

import torch

from panformer.claims import registry
from panformer.claims.tasks import digits


def _numbers(batch):
    """(B, size) label of every image, found by its pixels."""
    pixels = torch.cat([digits.side(side)[0] for side in (False, True)])
    labels = torch.cat([digits.side(side)[1] for side in (False, True)])
    images = ((batch.x + 1) * 8).round().long().flatten(0, 1)
    apart = torch.cdist(images.float(), pixels.float())
    assert (apart.amin(1) == 0).all()
    return labels[apart.argmin(1)].view(batch.x.shape[:2])


def test_a_bag_is_labelled_by_what_it_holds():
    task = registry.task({"use": "bags", "size": 7, "digit": 3, "witnesses": 2})
    for batch in (task.batch(torch.Generator().manual_seed(0), 64), task.test(torch.Generator().manual_seed(1), 64)):
        count = (_numbers(batch) == 3).sum(1)
        assert torch.equal(count, 2 * batch.y) and 0 < batch.y.sum() < 64


def test_images_of_the_test_are_not_in_training():
    train, test = ({tuple(p.tolist()) for p in digits.side(side)[0]} for side in (False, True))
    assert len(test) > 300 and not train & test


def test_a_rule_that_knows_the_digits_scores_fully():
    task = registry.task({"use": "bags"})
    batch = task.test(torch.Generator().manual_seed(0), 32)
    found = (_numbers(batch) == 9).any(1)
    right, asked = task.score(torch.stack([~found, found], 1).float(), batch.y)
    assert right == asked == 32
