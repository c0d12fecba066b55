"""Training with a source: an encoder-decoder learns, in every layout of the source alike, and misuse is told in a line."""

import pytest
import torch

from panformer import build
from panformer.claims.tasks._base import Batch
from panformer.core import layout
from panformer.core.errors import InputError
from panformer.core.layout import pack, pad
from panformer.core.part import config
from panformer.train.given import cut
from panformer.train.loop import Train, compute, fit

ATTENTION = {"use": "attention", "heads": 2, "position": "t5"}
ENCODER = {"width": 16, "embed": {"use": "tokens", "vocab": 12}, "schedule": [{"mixer": ATTENTION, "channel": "mlp"}]}
SPEC = {
    **ENCODER,
    "causal": True,
    "schedule": [
        {
            "mixer": {**ATTENTION, "position": {"use": "t5", "two_sided": False}},
            "cross": {"use": "cross_attention", "heads": 2},
            "channel": "mlp",
        }
    ],
    "head": {"use": "lm", "vocab": 12, "tie": False},
    "encoder": ENCODER,
}
PLAIN = {**ENCODER, "causal": True, "head": {"use": "lm", "vocab": 12}}
LENGTHS = (5, 1, 7)
X = torch.randint(12, (3, 4), generator=torch.Generator().manual_seed(0))
Y = X.roll(-1, 1)
ROWS = [torch.randint(12, (n,), generator=torch.Generator().manual_seed(n)) for n in LENGTHS]


def goal(use="classify", **options):
    return config("objectives", {"use": use, **options}).build()


def loss(model, batch, objective=None, **how):
    model.zero_grad()
    settings = Train(steps=1, **how) if how else None
    found, _ = compute(model, objective or goal(), batch, torch.Generator(), settings)
    found["loss"].backward()
    return found["loss"].detach(), [p.grad.clone() for p in model.parameters()]


def close(one, two):
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def double():
    return build(SPEC, seed=0).double()


@pytest.mark.parametrize("form", ["right", "left", "packed"])
def test_a_source_means_the_same_in_every_layout(form):
    """Loss and gradients are those of each row alone with its own source."""
    model = double()
    source = pack(ROWS) if form == "packed" else pad(ROWS, side=form)
    got, slopes = loss(model, Batch(X, y=Y, source=source))
    apart = [loss(model, Batch(X[i : i + 1], y=Y[i : i + 1], source=layout.Batch(ROWS[i][None]))) for i in range(3)]
    close(got, sum(value for value, _ in apart) / 3)
    for i, slope in enumerate(slopes):
        close(slope, sum(gradients[i] for _, gradients in apart) / 3)


def test_packed_tokens_read_the_padded_sources_of_their_sequences():
    model, tokens = double(), [X[0], X[1, :2], X[2, :3]]
    batch = pack(tokens)
    for source in (pack(ROWS), pad(ROWS), pad(ROWS, side="left")):
        out = model(batch, source=source)
        want = [model(t[None], source=s[None])[0] for t, s in zip(tokens, ROWS, strict=True)]
        close(out[0], torch.cat(want))


@pytest.mark.parametrize("activations", ["exact", "recompute"])
def test_pieces_of_a_batch_are_the_whole(activations):
    batch, model = Batch(X, y=Y, source=pad(ROWS)), double()
    whole, slopes = loss(model, batch)
    again, others = loss(model, batch, activations=activations)
    close(whole, again)
    close(slopes, others)
    pieces = cut(batch, 2)
    assert [len(p.x) for p in pieces] == [len(p.source.x) for p in pieces] == [2, 1]
    apart = [loss(model, p) for p in pieces]
    close(whole, (2 * apart[0][0] + apart[1][0]) / 3)


def test_two_passes_read_every_source_twice():
    model, plain = double(), goal("causal_lm")
    both = goal("consistency", of="causal_lm", alpha=1.0)
    batch = Batch(X, source=pad(ROWS))
    once, twice = loss(model, batch, plain)[0], compute(model, both, batch, torch.Generator())[0]
    close(twice["loss"], 2 * once)
    close(twice["agreement"], torch.zeros((), dtype=torch.float64))
    packed = Batch(X, source=pack(ROWS))
    close(compute(model, both, packed, torch.Generator())[0]["loss"], 2 * once)


def test_an_auxiliary_loss_of_the_encoder_is_charged():
    experts = {"use": "moe", "experts": 2}
    with_experts = {**SPEC, "encoder": {**ENCODER, "schedule": [{"mixer": ATTENTION, "channel": experts}]}}
    model = build(with_experts, seed=0).train()
    found, _ = compute(model, goal(), Batch(X, y=Y, source=pad(ROWS)), torch.Generator())
    own = model.encoder.run(pad(ROWS)).losses
    assert own and all(torch.equal(found[name], value) for name, value in own.items())


class Reversal:
    """Rows of ids, to be written backwards; the decoder starts from id 0."""

    def __init__(self):
        self.rng = torch.Generator().manual_seed(1)

    def __iter__(self):
        while True:
            ids = torch.randint(1, 12, (16, 4), generator=self.rng)
            back = ids.flip(1)
            yield Batch(torch.nn.functional.pad(back[:, :-1], (1, 0)), y=back, source=layout.Batch(ids))

    def state(self):
        return {}


def test_what_it_learns_is_what_it_answers():
    """Training through the loop, and greedy answers of the trained model, token by token."""
    placed = {"embed": {**ENCODER["embed"], "position": {"use": "learned", "length": 8}}, "width": 32}
    model = build({**SPEC, **placed, "encoder": {**ENCODER, **placed}}, seed=0)
    fit(model, goal(), Reversal(), Train(steps=250, batch=16, rate=5e-3, check=250))
    batch = next(iter(Reversal()))
    right = (model(batch.x, source=batch.source).argmax(-1) == batch.y).all(-1)
    assert right.float().mean() > 0.7, "chance is 1 in 14641"
    told = model.generate([[0]] * 16, source=batch.source, tokens=4)
    same = [torch.equal(g.ids, y) for g, y in zip(told, batch.y, strict=True)]
    assert same == right.tolist(), "greedy decoding is right where every next id is the likeliest"
    other = model.generate([[0]] * 16, source=batch.source.x.flip(0), tokens=4)
    assert all(torch.equal(a.ids, b.ids) for a, b in zip(told, reversed(other), strict=True)), "the source decides"


@pytest.mark.parametrize(
    ("spec", "batch", "how", "says"),
    [
        (SPEC, Batch(X, y=Y), {}, "reads `source`, and none was given"),
        (PLAIN, Batch(X, y=Y, source=pad(ROWS)), {}, "a model without an encoder"),
        (PLAIN, Batch(X, y=Y, source=pad(ROWS)), {"activations": "stream"}, "the batch has a source"),
        (SPEC, Batch(X, y=Y, source=pad(ROWS[:2])), {}, "2 sources for 3 rows of tokens"),
        (SPEC, Batch(X, y=Y, source=pack(ROWS + ROWS)), {}, "6 sources for 3 rows of tokens"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(spec, batch, how, says):
    with pytest.raises(InputError) as fault:
        loss(build(spec, seed=0), batch, **how)
    assert says in str(fault.value) and "\n" not in str(fault.value)


def test_a_packed_source_is_not_cut_along_other_rows():
    with pytest.raises(InputError, match="micro: 1 packed rows of sources"):
        cut(Batch(X, y=Y, source=pack(ROWS)), 2)
