"""What is read off trained models: the best length of windows, and the sparsity that answers bear."""

from panformer.claims.facts import sequence_length, sparse_frontier


def test_the_best_length_is_the_shortest_of_equals(monkeypatch):
    right = {"near": {16: 0.99, 32: 0.995, 64: 0.9, 128: 0.8}, "far": {16: 0.1, 32: 0.5, 64: 0.9, 128: 0.97}}
    monkeypatch.setattr(sequence_length, "share", lambda seed, model, train, ask, n: right[ask][n])
    assert sequence_length.best(0, {}, {}, "near") == 16 and sequence_length.best(0, {}, {}, "far") == 128
    assert sequence_length.apart(0, {}, {}, ("far", "near")) == 8
    assert sequence_length.apart(0, {}, {}, ("near", "near")) == 1
    assert abs(sequence_length.gain(0, {}, {}, "far") - 0.87) < 1e-9


def test_the_sparsest_bears_every_lesser_sparsity_as_well(monkeypatch):
    after = {"blocks": {0.5: 0.9, 0.25: 1.0}, "pages": {0.5: 1.0, 0.25: 0.97, 0.125: 0.94}}

    def right(seed, model, train, kind, unit=None, share=1.0):
        return 1.0 if unit is None else after[unit].get(share, 0.0)

    monkeypatch.setattr(sparse_frontier, "right", right)
    assert sparse_frontier.sparsest(0, {}, {}, ["blocks"]) == 1, "twice fails, so four times does not count"
    assert sparse_frontier.sparsest(0, {}, {}, ["blocks", "pages"]) == 4
    assert sparse_frontier.reach(0, {}, {}, ["pages"], ["blocks"]) == 4
    assert sparse_frontier.worst(0, {}, {}, "pages", 0.125) == 1 - 0.94
