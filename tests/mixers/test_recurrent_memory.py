"""Memory tokens: segments alone without them, the plain model where there is one segment, and gradients cut on demand."""

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Layout
from panformer.core.part import config
from panformer.core.state import size as bytes_of

from .weights import shaken

WIDTH, SIZE, M = 16, 5, 3
INNER = {"use": "attention", "heads": 2, "causal": True, "position": "rope"}


def _mixer(**options):
    torch.manual_seed(0)
    return (
        shaken(
            config("mixers", {"use": "recurrent_memory", "size": SIZE, "memory": M, "mixer": INNER, **options}).build(
                WIDTH
            )
        )
        .double()
        .eval()
    )


def _values(length, batch=2):
    return torch.randn(batch, length, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def _layers(m, h):
    at = Layout.dense(*h.shape[:2])
    for layer in m.layers:
        h = layer(h, at, None)
    return m.final(h, at)


def test_is_the_layers_on_memory_tokens_and_memory_again():
    m, x = _mixer(), _values(13)
    memory, out = m.first.expand(2, -1, -1), []
    for a in range(0, 13, SIZE):
        piece = x[:, a : a + SIZE]
        h = _layers(m, torch.cat([memory, piece, memory], 1))
        out.append(h[:, M : M + piece.shape[1]])
        memory = h[:, M + piece.shape[1] :]
    torch.testing.assert_close(m(x, Layout.dense(2, 13)), torch.cat(out, 1))


def test_without_memory_segments_are_alone():
    m, x = _mixer(memory=0), _values(15)
    at = Layout.dense(6, SIZE)
    torch.testing.assert_close(m(x, Layout.dense(2, 15)), m(x.view(6, SIZE, -1), at).view(2, 15, -1))
    told = _mixer()
    assert (told(x, Layout.dense(2, 15)) - told(x.view(6, SIZE, -1), at).view(2, 15, -1)).abs().max() > 0.1


@pytest.mark.parametrize("memory", [0, M])
def test_one_segment_is_the_plain_model(memory):
    """A model of one `bare` layer, and the same layers in a plain schedule whose tokens come after the memory."""
    plain = {
        "width": WIDTH,
        "causal": True,
        "embed": {"use": "tokens", "vocab": 11},
        "head": {"use": "lm", "vocab": 11},
    }
    layer = {"use": "recurrent_memory", "size": 20, "memory": memory, "mixer": INNER}
    ours = panformer.build({**plain, "schedule": [{"mixer": layer, "residual": "bare"}]}, seed=0).double()
    theirs = panformer.build({**plain, "schedule": [{"repeat": 2, "mixer": INNER, "channel": "mlp"}]}, seed=1).double()
    weights = {
        k.replace("layers.0.mixer.layers", "layers").replace("layers.0.mixer.final", "final"): v
        for k, v in ours.state_dict().items()
        if k != "trunk.layers.0.mixer.first"
    }
    theirs.load_state_dict(weights, strict=True)
    x = torch.randint(11, (3, 20))
    if not memory:
        torch.testing.assert_close(ours(x), theirs(x))
    embedded = theirs.embed(x)[0]
    h = torch.cat([ours.trunk.layers[0].mixer.first.expand(3, -1, -1), embedded], 1)
    h = theirs.trunk(h, Layout.dense(3, memory + 20), panformer.core.shared.Shared())[0][:, memory:]
    torch.testing.assert_close(ours(x), theirs.head(h, Layout.dense(3, 20), theirs.embed.table.weight))


def test_each_document_starts_with_the_first_memory():
    m, lengths = _mixer(), [7, 12, 5]
    x = _values(24, 1)
    whole, a = m(x, Layout.packed(lengths))[0], 0
    for n in lengths:
        torch.testing.assert_close(whole[a : a + n], m(x[:, a : a + n], Layout.dense(1, n))[0])
        a += n


@pytest.mark.parametrize("back", [None, 0, 1, 2])
def test_gradients_go_back_as_many_segments_as_told(back):
    """From the last token into each segment before its own: none where the memory was cut on the way."""
    m = _mixer(back=back).train()
    x = _values(5 * SIZE, 1).requires_grad_()
    y = m(x, Layout.dense(1, 5 * SIZE))
    found = torch.autograd.grad(y[0, -1].sum(), x)[0][0].abs().view(5, -1).amax(1) > 0
    ends = 0 if back is None else 4 // (back + 1) * (back + 1)  # the last segment whose memory came without gradient
    assert found.tolist() == [i >= ends for i in range(5)]
    assert torch.equal(y, m.eval()(x, Layout.dense(1, 5 * SIZE)))


def test_what_is_cut_in_a_stream_is_what_is_cut_at_once():
    m, x = _mixer(back=1).train(), _values(4 * SIZE)
    learned, at, state, out = list(m.parameters()), Layout.dense(2, 4 * SIZE), m.start(2, x), []
    for a, b in ((0, 3), (3, 12), (12, 20)):
        y, state = m.chunk(x[:, a:b], at.span(a, b), state)
        out.append(y)
    pair = [torch.autograd.grad(y.sin().sum(), learned) for y in (torch.cat(out, 1), m(x, at))]
    for one, other in zip(*pair, strict=True):
        torch.testing.assert_close(one, other)


def test_state_is_one_segment_and_the_memory():
    m, x = _mixer(), _values(23)
    state = m.start(2, x)
    assert (
        bytes_of(state)
        == bytes_of(m.chunk(x, Layout.dense(2, 23), state)[1])
        == 2 * (8 * WIDTH * (SIZE + M) + SIZE + 1)
    )


def test_refuses_what_cannot_be_inside():
    for options in ({"mixer": "attention"}, {"mixer": "fourier"}, {"norm": "group"}):
        with pytest.raises(InputError, match="recurrent_memory"):
            _mixer(**options)


@pytest.mark.parametrize("size", [1, 4])
def test_a_chunk_without_a_token_changes_nothing(size):
    """Not even where no segment is open, so that the layers are asked about nothing at all."""
    torch.manual_seed(0)
    mixer = config("mixers", {"use": "recurrent_memory", "size": size, "memory": 0}).build(8).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    nowhere = Layout(torch.full((2, 3), -1), torch.zeros(2, 3, 1, dtype=torch.int64))
    at, held = Layout.dense(2, 9), mixer.start(2, x)
    outs = []
    for a, b in ((0, 4), (4, 9)):
        _, held = mixer.chunk(torch.full((2, 3, 8), torch.nan, dtype=torch.float64), nowhere, held)
        y, held = mixer.chunk(x[:, a:b], at.span(a, b), held)
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), mixer(x, at))
