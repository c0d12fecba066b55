"""Attention moved by group elements of its tokens sees relative ones alone."""

import pytest
import torch

from panformer.claims.facts.geometry import poses
from panformer.core.errors import InputError
from panformer.core.layout import Batch, Layout
from panformer.core.part import config
from panformer.model.build import build

D = torch.float64


def placed(pose, lengths=None):
    batch, length = pose.shape[:2]
    at = Layout.dense(batch, length) if lengths is None else Layout.padded(lengths, length)
    return Layout(at.seg, at.pos, full=at.full, single=at.single, pose=pose)


def attention(position, **options):
    torch.manual_seed(0)
    return config("mixers", {"use": "attention", "heads": 2, "position": position, **options}).build(32).double()


def test_another_frame_of_the_world_changes_nothing():
    rng = torch.Generator().manual_seed(0)
    part, x = attention({"use": "gta", "posed": 0.5}), torch.randn(2, 9, 32, dtype=D)
    g, h = poses(rng, 2, 9), poses(rng, 1, 1)
    want = part(x, placed(g))
    torch.testing.assert_close(part(x, placed(g @ h)), want, rtol=1e-9, atol=1e-9)
    assert (part(x, placed(h @ g)) - want).abs().max() > 1e-2


def test_coordinates_on_queries_and_keys_are_rope_and_values_come_back():
    x, at = torch.randn(2, 9, 32, dtype=D), Layout.dense(2, 9)
    torch.testing.assert_close(attention({"use": "gta", "moves": "qk"})(x, at), attention("rope")(x, at))
    part, plain = attention("gta"), attention("rope")
    plain.load_state_dict(part.state_dict())
    one, line = Layout.dense(2, 1), attention("gta")
    torch.testing.assert_close(line(x[:, 3:4], one), line(x[:, 3:4], Layout.dense(2, 1, start=40)))
    assert not torch.allclose(part(x, at), plain(x, at)), "values of other places are turned"


def test_what_moves_values_is_undone_at_the_query():
    rng = torch.Generator().manual_seed(1)
    part = attention({"use": "gta", "posed": 1.0}).position
    at, x = placed(poses(rng, 2, 5)), torch.randn(2, 2, 5, 16, dtype=D)
    torch.testing.assert_close(part.back(part.value(x, at), at), x)
    logit = (part.query(x, at) * part.key(x, at)).sum(-1)
    torch.testing.assert_close(logit, x.square().sum(-1))


def test_poses_go_with_their_tokens_padded_and_in_a_stream():
    tree = {
        "width": 32, "causal": True, "position": {"use": "gta", "posed": 0.5}, "embed": {"use": "posed", "channels": 17},
        "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}],
    }  # fmt: skip
    model, rng = build(tree, seed=0).double().eval(), torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(3, 8, 5, dtype=D), poses(rng, 3, 8)[..., :3, :].flatten(-2)], -1)
    with torch.no_grad():
        want = model(x)
        padded = x.clone()
        padded[1, 5:] = torch.nan
        torch.testing.assert_close(model(padded, [8, 5, 8])[1, :5], want[1, :5])
        packed = Batch(torch.cat([x[0], x[1, :5]])[None], Layout.packed([8, 5]))
        torch.testing.assert_close(model(packed)[0], torch.cat([want[0], want[1, :5]]))
        stream, outs = model.start(3), []
        for a, b in ((0, 3), (3, 4), (4, 8)):
            y, stream = model.chunk(x[:, a:b], stream)
            outs.append(y)
    torch.testing.assert_close(torch.cat(outs, 1), want)


def test_gta_says_what_it_lacks():
    with pytest.raises(InputError, match="embed 'posed' reads them"):
        attention({"use": "gta", "posed": 1.0})(torch.randn(1, 3, 32, dtype=D), Layout.dense(1, 3))
    with pytest.raises(InputError, match="no blocks of 4"):
        attention({"use": "gta", "posed": 0.1})
    with pytest.raises(InputError, match="'alibi' does not turn"):
        attention({"use": "gta", "turn": "alibi"})
