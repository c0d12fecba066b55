"""Training: interrupted and resumed equals uninterrupted, to the bit; pieces of a batch equal the whole."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import panformer
from panformer.core.errors import InputError, PanformerError
from panformer.core.part import config
from panformer.data.base import Examples, Task
from panformer.data.batch import Batches
from panformer.model.io import tensors
from panformer.train.interrupt import Interrupted
from panformer.train.loop import Train, fit, schedule

LANGUAGE = Task("language", "tokens", "bits_per_byte", vocab=20)
SPEC = {
    "width": 16,
    "causal": True,
    "dropout": 0.1,
    "embed": {"use": "tokens", "vocab": 20},
    "schedule": [{"repeat": 2, "mixer": {"use": "attention", "heads": 2}, "channel": {"use": "moe", "experts": 2}}],
    "head": {"use": "lm", "vocab": 20},
}


def text(documents=8):
    rng = torch.Generator().manual_seed(0)
    inputs = [
        torch.randint(0, 20, (int(n),), generator=rng) for n in torch.randint(30, 60, (documents,), generator=rng)
    ]
    return Examples(inputs, None, [f"document {i}" for i in range(documents)])


def setup(**how):
    how = Train(**{"steps": 12, "batch": 4, "tokens": 16, "check": 4, **how})
    model = panformer.build(SPEC, seed=0)
    batches = Batches(text(), LANGUAGE, how.batch, seed=how.seed, tokens=how.tokens)
    return model, config("objectives", "causal_lm").build(), batches, how


def validate(model):
    with torch.no_grad():
        return float(model(torch.arange(20)[None]).square().mean())


def same(a, b):
    return all(torch.equal(v, tensors(b)[n]) for n, v in tensors(a).items())


class StopAfter:
    """Asks for a stop, as Ctrl-C does, once so many steps of this call are done."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self, fit, how):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def test_resume_of_a_resume_is_bitwise(tmp_path):
    straight, objective, batches, how = setup()
    whole = fit(straight, objective, batches, how, validate)
    for stop in (3, 4):
        model, objective, batches, how = setup()
        with pytest.raises(Interrupted):
            fit(model, objective, batches, how, validate, folder=tmp_path / "run", watch=StopAfter(stop))
    model, objective, batches, how = setup()
    rest = fit(model, objective, batches, how, validate, folder=tmp_path / "run")
    assert rest.losses == whole.losses, "losses differ after two resumes"
    assert rest.checks == whole.checks
    assert same(straight, model), "weights differ after two resumes"


def test_a_killed_process_resumes_bitwise(tmp_path):
    straight, objective, batches, how = setup(steps=40)
    fit(straight, objective, batches, how, validate)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(int(sys.argv[3]))\n"
        "from pathlib import Path; import test_loop as t, time\n"
        "m, o, b, how = t.setup(steps=40)\n"
        "def watch(f, h):\n    time.sleep(0.05); print(f.steps, flush=True)\n"
        "t.fit(m, o, b, how, t.validate, folder=Path(sys.argv[2]), watch=watch)\n"
    )
    here, run = os.path.dirname(__file__), str(tmp_path / "run")
    command = [sys.executable, "-c", code, here, run, str(torch.get_num_threads())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            if int(line) >= 10:
                child.kill()
                break
    assert child.wait() == -signal.SIGKILL
    model, objective, batches, how = setup(steps=40)
    fit(model, objective, batches, how, validate, folder=tmp_path / "run")
    assert same(straight, model), "weights differ after a kill and a resume"


@pytest.mark.parametrize("name", ["causal_lm", "masked_lm"])
def test_pieces_of_a_batch_equal_the_whole(name):
    """The gradient of a ragged batch in three pieces is that of the whole: a mean over tokens, not over pieces."""
    from panformer.train import loop

    spec = {**SPEC, "dropout": 0.0, "schedule": [{"mixer": {"use": "attention", "heads": 2}, "channel": "mlp"}]}
    node = {"use": name, **({"vocab": 20, "mask": 19, "rate": 0.5} if name == "masked_lm" else {})}
    grads = []
    for micro in (1, 3):
        model = panformer.build(spec, seed=0).double()
        how = Train(steps=1, batch=6, tokens=16, micro=micro)
        objective = config("objectives", node).build()
        if name == "masked_lm":  # the same corruption for both: drawn once for the whole batch
            objective.corrupt = lambda raw, at, rng: (raw, torch.where((raw % 3 == 0) & at.valid, raw, -100))
        batches = Batches(text(3), LANGUAGE, 6, seed=0, tokens=16)
        run = loop._Run(model, objective, batches, how, None, True, None)
        run._gradients(next(iter(batches)))
        grads.append({n: p.grad for n, p in model.named_parameters()})
    for n in grads[0]:
        torch.testing.assert_close(grads[0][n], grads[1][n], rtol=1e-10, atol=1e-12, msg=lambda m, n=n: f"{n}: {m}")


def test_training_learns():
    model, objective, batches, how = setup(steps=150, rate=3e-3)
    done = fit(model, objective, batches, how)
    assert sum(done.losses[-10:]) < sum(done.losses[:10]) - 2, f"from {done.losses[0]:.2f} to {done.losses[-1]:.2f}"
    assert done.ended == "all steps done"
    assert sum(done.stats["expert_load"]) > 0


def test_ends_with_the_best_weights():
    model, objective, batches, how = setup()
    done = fit(model, objective, batches, how, validate)
    assert validate(model) == done.best == min(v for _, v in done.checks)


def test_patience_and_time_stop():
    model, objective, batches, how = setup(steps=1000, check=1, patience=3)
    assert fit(model, objective, batches, how, lambda m: 1.0).ended == "no more progress"
    model, objective, batches, how = setup(steps=10**6, minutes=0.01)
    began = time.monotonic()
    assert fit(model, objective, batches, how).ended == "time is up"
    assert time.monotonic() - began < 30


def test_a_bad_loss_names_step_and_module():
    model, objective, batches, how = setup()
    with torch.no_grad():
        model.trunk.layers[1].mixer.v.weight[0, 0] = float("nan")
    with pytest.raises(PanformerError, match=r"step 1: first in trunk\.layers\.1\.mixer\.v"):
        fit(model, objective, batches, how)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    model, objective, batches, how = setup()
    fit(model, objective, batches, how, validate, folder=tmp_path / "run")
    model, objective, batches, how = setup(rate=0.5)
    with pytest.raises(InputError, match="other options: rate"):
        fit(model, objective, batches, how, validate, folder=tmp_path / "run")
    other = panformer.build({**SPEC, "dropout": 0.2}, seed=0)
    _, objective, batches, how = setup()
    with pytest.raises(InputError, match="another model"):
        fit(other, objective, batches, how, validate, folder=tmp_path / "run")


@pytest.mark.parametrize("shape", ["cosine", "wsd", "constant"])
def test_rates_rise_then_fall(shape):
    how = Train(steps=100, warmup=0.1, shape=shape)
    rates = [schedule(i / 100, how) for i in range(100)]
    assert rates[0] < rates[5] < rates[10] == pytest.approx(1)
    assert rates[-1] == 1 if shape == "constant" else rates[-1] < 0.1
    assert all(0 < r <= 1 for r in rates)


def test_weight_decay_spares_what_a_part_wants_left_alone():
    from panformer.train.loop import _optimizer

    spec = {**SPEC, "schedule": [{"mixer": "mamba", "channel": {"use": "moe", "experts": 2, "bias": True}}]}
    model = panformer.build(spec, seed=0)
    decayed = {
        id(p) for g in _optimizer(model, Train(decay=0.1)).param_groups if g["weight_decay"] for p in g["params"]
    }
    layer = model.trunk.layers[0]
    assert id(layer.mixer.input.weight) in decayed
    spared = {"a_log": layer.mixer.a_log, "skip": layer.mixer.skip, "up_bias": layer.channel.up_bias}
    wrong = [n for n, p in spared.items() if id(p) in decayed]
    assert not wrong, f"decayed: {wrong}"
