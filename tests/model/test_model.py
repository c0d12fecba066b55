"""A whole model keeps the promises of its parts: pieces equal the whole, packed equals separate."""

import pytest
import torch

import panformer
from panformer.core.errors import InputError
from panformer.core.layout import Batch, Layout
from panformer.core.state import reorder

ATTENTION = {"use": "attention", "heads": 2}
DECODER = {
    "width": 16,
    "causal": True,
    "embed": {"use": "tokens", "vocab": 30},
    "position": "rope",
    "norm": "rms",
    "schedule": [
        {"repeat": 2, "mixer": {**ATTENTION, "kv_heads": 1}, "channel": "glu"},
        {"pattern": [{"name": "lender", "mixer": ATTENTION}, {"mixer": ATTENTION, "reads": {"kv": "lender"}}]},
        {"repeat": 3, "tie": True, "mixer": {**ATTENTION, "window": 4, "position": "alibi"}, "channel": "mlp"},
    ],
}


def build(spec, **changes):
    return panformer.build({**spec, **changes}, seed=0).double().eval()


def tokens(*shape):
    return torch.randint(0, 30, shape, generator=torch.Generator().manual_seed(1))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_pieces_equal_the_whole():
    model, x = build(DECODER), tokens(3, 23)
    whole = model(x)
    for cuts in ([1] * 23, [23], [7, 1, 15], [5, 5, 5, 5, 3]):
        stream, out = model.start(3), []
        for piece in x.split(cuts, 1):
            y, stream = model.chunk(piece, stream)
            out.append(y)
        close(torch.cat(out, 1), whole)


def test_ragged_pieces_leave_each_row_where_it_is():
    model, x = build(DECODER), tokens(3, 10)
    _, stream = model.chunk(x[:, :6], model.start(3), lengths=[6, 4, 2])
    seen = torch.tensor([6, 4, 2])
    y, _ = model.chunk(x[torch.arange(3), seen][:, None], stream)
    for row, n in enumerate(seen.tolist()):
        close(y[row, 0], model(x[row : row + 1, : n + 1])[0, -1])


def test_stream_can_be_reordered():
    model, x = build(DECODER), tokens(3, 8)
    (state, shared) = model.chunk(x[:, :7], model.start(3))[1]
    rows = torch.tensor([2, 0, 0])
    y, _ = model.chunk(x[rows, 7:], (reorder(state, rows), shared))
    close(y[:, 0], model(x)[rows, -1])


def test_a_stream_is_read_by_its_own_rows():
    model, x = build(DECODER), tokens(3, 6)
    for rows in (1, 2):
        with pytest.raises(InputError, match=f"the stream has {rows} rows, the input 3"):
            model.chunk(x, model.start(rows))
    with pytest.raises(InputError, match="the stream has 3 rows, the input 1"):
        model.chunk(x[:1], model.chunk(x, model.start(3))[1])
    with pytest.raises(InputError, match="one sequence a row, and a row of this batch has several"):
        model.chunk(panformer.pack(list(x)), model.start(1))
    alone, _ = model.chunk(panformer.pack([x[0]]), model.start(1))  # one is no crowd
    close(alone, model(x[:1]))


def test_a_batch_of_padding_alone_is_refused():
    model, nowhere = build(DECODER), Layout(torch.full((2, 4), -1), torch.zeros(2, 4, 1, dtype=torch.int64))
    for read in (model, model.hidden):
        with pytest.raises(InputError, match="without a token"):
            read(Batch(tokens(2, 4), nowhere))


def test_packed_equals_separate():
    model = build(DECODER)
    parts = [tokens(1, n)[0] for n in (5, 1, 17)]
    out = model(panformer.pack(parts))[0]
    for piece, part in zip(out.split([5, 1, 17]), parts, strict=True):
        close(piece, model(part[None])[0])


def test_lengths_equal_separate():
    model, x = build(DECODER), tokens(3, 9)
    out = model(x, lengths=[9, 4, 1])
    for row, n in enumerate((9, 4, 1)):
        close(out[row, :n], model(x[row : row + 1, :n])[0])


def test_lent_keys_are_not_computed_twice():
    with_own = {**DECODER, "schedule": [{"repeat": 2, "mixer": ATTENTION}]}
    lending = {**DECODER, "schedule": [DECODER["schedule"][1]]}
    own, lent = (sum(p.numel() for p in build(s).parameters()) for s in (with_own, lending))
    assert own - lent == 2 * 16 * 16, f"a borrowing layer should lack its key and value maps, differs by {own - lent}"


def test_tied_layers_share_weights():
    once = build({**DECODER, "schedule": [{"mixer": ATTENTION, "channel": "mlp"}]})
    thrice = build({**DECODER, "schedule": [{"repeat": 3, "tie": True, "mixer": ATTENTION, "channel": "mlp"}]})
    assert sum(p.numel() for p in once.parameters()) == sum(p.numel() for p in thrice.parameters())
    x = tokens(1, 6)
    assert not torch.allclose(once(x), thrice(x)), "three passes through one layer should not equal one"


def test_a_shared_position_is_learned_once():
    spec = {**DECODER, "position": "t5", "schedule": [{"repeat": 2, "mixer": ATTENTION}]}
    model = build(spec)
    assert model.trunk.layers[0].mixer.position is model.trunk.layers[1].mixer.position


def test_same_seed_same_weights():
    a, b = build(DECODER), build(DECODER)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_encoder_decoder_reads_its_source_only():
    side = {k: v for k, v in DECODER.items() if k not in ("causal", "schedule")}
    spec = {
        **side,
        "causal": True,
        "schedule": [
            {"repeat": 2, "mixer": ATTENTION, "cross": {"use": "cross_attention", "heads": 2}, "channel": "mlp"}
        ],
        "encoder": {**side, "schedule": [{"repeat": 2, "mixer": ATTENTION, "channel": "mlp"}]},
    }
    with pytest.raises(InputError, match="one_table: needs"):
        build({**spec, "one_table": True, "encoder": {**spec["encoder"], "embed": {"use": "tokens", "vocab": 3}}})
    one = build({**spec, "one_table": True, "encoder": {**spec["encoder"], "position": "t5"}})
    assert one.encoder.embed.table is one.embed.table
    assert one.encoder.trunk.layers[0].mixer.position is one.encoder.trunk.layers[1].mixer.position
    model, x, source = build(spec), tokens(2, 7), tokens(2, 9)
    whole = model(x, source=source, source_lengths=[9, 5])
    close(whole[1:], model(x[1:], source=source[1:, :5]))
    stream, out = model.start(2, source, [9, 5]), []
    for piece in x.split([3, 1, 3], 1):
        y, stream = model.chunk(piece, stream)
        out.append(y)
    close(torch.cat(out, 1), whole)
    with pytest.raises(InputError, match="reads `source`"):
        model(x)


def test_stages_change_width_and_grid():
    spec = {
        "width": 8,
        "embed": {"use": "patches", "size": 2, "channels": 1},
        "schedule": [
            {"mixer": "pool", "channel": "mlp"},
            {"width": 12, "reduce": "downsample", "mixer": "pool", "channel": "mlp"},
        ],
    }
    h, at = build(spec).hidden(torch.rand(2, 1, 16, 16, dtype=torch.float64))
    assert h.shape == (2, 16, 12), f"got {tuple(h.shape)}"
    assert at.grid == (4, 4), f"got {at.grid}"


@pytest.mark.parametrize(
    ("x", "lengths", "says"),
    [
        (torch.zeros(3, 4), None, "dtype"),
        (torch.zeros(3, 4, 5, 6), None, "shape"),
        (torch.zeros(0, 4, dtype=torch.long), None, "empty"),
        (torch.zeros(2, 4, dtype=torch.long), [4], "1 lengths for a batch of 2"),
        (torch.zeros(2, 4, dtype=torch.long), [5, 1], "length 5 does not fit"),
        (torch.zeros(2, 4, dtype=torch.long), [0, 1], "positive"),
        (torch.full((2, 4), 99), None, "99"),
    ],
)
def test_wrong_input_is_named(x, lengths, says):
    with pytest.raises(InputError, match=says):
        build(DECODER)(x, lengths=lengths)


def test_refuses_to_stream_what_looks_ahead():
    model = build({**DECODER, "causal": False})
    assert "attention" in model.why_no_stream()
    with pytest.raises(InputError, match="no streaming form"):
        model.start(1)
