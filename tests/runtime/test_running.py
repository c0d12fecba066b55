"""A model that answers as its input comes gives the answers of the whole, keeps what it says, and refuses in words."""

import json
import subprocess
import sys

import pytest
import torch

import panformer
from panformer.choose import saved
from panformer.choose.trial import opened
from panformer.core.errors import InputError
from panformer.runtime import Running

SHELL = {"width": 16, "causal": True, "schedule": [{"repeat": 2, "mixer": "mamba", "channel": "mlp"}]}
FRAMES = {**SHELL, "embed": {"use": "frames", "channels": 3}}
BYTES = {**SHELL, "embed": "bytes", "head": {"use": "lm", "vocab": 256}}


def frames(**head):
    return panformer.build({**FRAMES, "head": head}, seed=0).double().eval()


@pytest.mark.parametrize("cuts", [[1] * 9, [4, 5], [9]])
@pytest.mark.parametrize("pool", ["mean", "first", "last", "max"])
def test_a_pooling_head_answers_for_all_so_far(pool, cuts):
    model = (
        frames(use="regress", pool=pool) if pool in ("first", "last") else frames(use="classify", classes=4, pool=pool)
    )
    x = torch.randn(9, 3, dtype=torch.float64)
    running, read = Running(model), 0
    for piece in x.split(cuts):
        read += len(piece)
        torch.testing.assert_close(running.push(piece), model(x[None, :read])[0], rtol=1e-9, atol=1e-9)


def test_a_head_per_token_answers_every_token():
    model, x = frames(use="values", outputs=2), torch.randn(9, 3, dtype=torch.float64)
    running = Running(model)
    got = torch.cat([running.push(piece) for piece in x.split([1, 6, 2])])
    torch.testing.assert_close(got, model(x[None])[0], rtol=1e-9, atol=1e-9)


def test_a_recurrent_state_does_not_grow_and_attentions_does():
    sizes = {}
    for mixer in ("mamba", "attention"):
        model = panformer.build(
            {**FRAMES, "schedule": [{"mixer": mixer}], "head": {"use": "values", "outputs": 1}}, seed=0
        )
        running, sizes[mixer] = Running(model), []
        for _ in range(3):
            running.push(torch.randn(40, 3))
            sizes[mixer].append(running.bytes())
    assert len(set(sizes["mamba"])) == 1 and sizes["attention"][2] > sizes["attention"][0], sizes


REFUSED = {
    "two-sided": ({"causal": False, "schedule": [{"mixer": "attention"}]}, "no streaming form"),
    "windows": ({"embed": {"use": "windows", "size": 4, "channels": 3}}, "embed windows reads tokens together"),
    "rescaled": ({"embed": {"use": "frames", "channels": 3, "normalise": "instance"}}, "reads tokens together"),
    "flat": ({"head": {"use": "forecast", "horizon": 2, "pool": "flat", "tokens": 9}}, "side by side"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_in_pieces_says_why(case):
    change, why = REFUSED[case]
    with pytest.raises(InputError, match=why):
        Running(panformer.build({**FRAMES, "head": {"use": "values", "outputs": 1}, **change}, seed=0))


def command(folder, text, *more):
    done = subprocess.run(
        [sys.executable, "-m", "panformer", "stream", str(folder), *more],
        input=text, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()], done


def test_text_line_by_line(tmp_path):
    model = panformer.build(BYTES, seed=0)
    panformer.save(model, tmp_path / "m")
    told, done = command(tmp_path / "m", "one\ntwo\n", "--state")
    assert done.returncode == 0, done.stderr
    ids = torch.tensor(list(b"one\ntwo\n"))
    with torch.inference_mode():
        scores = model.eval()(ids[None])[0].double().log_softmax(-1)
    bits = -scores[:-1].gather(1, ids[1:, None])[:, 0] / torch.log(torch.tensor(2.0))
    assert [t["line"] for t in told] == [1, 2] and told[0]["state_bytes"] == told[1]["state_bytes"] > 0
    assert told[0]["bits_per_byte"] == pytest.approx(bits[:3].sum().item() / 4, rel=1e-4)
    assert told[1]["bits_per_byte"] == pytest.approx(bits[3:].sum().item() / 4, rel=1e-4)


def test_values_line_by_line_in_their_own_units_and_a_bad_line(tmp_path):
    import numpy as np

    waves = np.random.default_rng(0).normal(5, 3, size=(40, 6, 3)).astype(np.float32)
    np.savez(tmp_path / "waves.npz", x=waves, y=np.arange(40) % 2)
    data = opened(str(tmp_path / "waves.npz"), {})
    model = panformer.build({**FRAMES, "head": {"use": "classify", "classes": 2}}, seed=0).eval()
    saved.write(tmp_path / "m", model, data, {"data": "waves.npz", "seed": 0, "task": "auto"})
    lines = "".join(", ".join(map(str, row)) + "\n" for row in waves[0])
    told, done = command(tmp_path / "m", lines + "1 2 x\n")
    with torch.inference_mode():
        want = data.prepare.decode(model(data.prepare.encode(waves[0])[None])[0])
    assert told[-1]["label"] == want["label"] and len(told) == 6, done.stderr
    assert told[-1]["probabilities"] == pytest.approx(want["probabilities"], abs=1e-5)
    assert done.returncode == 2 and "error: line 7: 'x' is not a finite number" in done.stderr
