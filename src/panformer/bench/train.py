"""Training steps of a small decoder, eager and compiled, beside those of others on the same weights and tokens."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.layout import Layout
from ..core.part import config
from ..core.spec import locate
from ..core.tree import read_tree
from ..measure.cost import of_model
from ..model.build import build
from ..model.model import Model
from . import peers
from .contest import OURS, OUTSIDE, Contestant, Plan, contest, goal, invite
from .race import matmul_rate, timed
from .venv import prepare

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYERS, WIDTH, HEADS, VOCAB = 6, 384, 6, 8192
LEARNED, ROTARY = "GPT-2's shape", "rotary positions"
COMPILED = "compiled"
LITGPT = "litgpt==0.5.13"
BESIDE = ("torch==2.13.0", "numpy", "PyYAML==6.0.4")  # what its model needs of other packages
OBJECTIVE: Any = config("objectives", "causal_lm").build()


def train(
    plan: Plan, batch: int = 8, length: int = 256, layers: int = LAYERS, width: int = WIDTH, compiled: bool = True
) -> dict[str, Any]:
    """Training step (forward, backward, AdamW) of a 6-layer, width-384 decoder; bf16 is autocast. Errors are those of the
    gradient of the token table, against ours in fp32."""
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    size = {"layers": layers, "width": width, "batch": batch, "length": length}
    x = torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(0)).to(plan.device)
    limits = {name: matmul_rate(dtype, plan.device) for name, dtype in PRECISIONS.items()}
    limits |= {f"{name} {COMPILED}": limit for name, limit in limits.items()}

    def race(task: str, spec: Mapping[str, Any], found: list[Contestant]) -> None:
        flops = 3 * of_model(build(spec, seed=0), length, batch).flops
        nonlocal rows
        rows += contest(task, found, plan, batch * length, "tokens", lambda a, b: {}, missing, flops, limits)
        plan.keep(_told(rows, {**missing, "the rest": f"the run ended after {task}"}, size, plan))

    spec = shape(layers, width, length)
    eager = [one for name in PRECISIONS for one in _here(spec, name, x)]
    race(LEARNED, spec, eager)
    if plan.peers:
        with ExitStack() as stack:
            spec = shape(layers, width, length, rotary=True)
            own = [_ours(build(spec, seed=0), name, x) for name in PRECISIONS]
            race(ROTARY, spec, own + _litgpt(stack, build(spec, seed=0), x, plan, missing))
    if compiled:
        spec = shape(layers, width, length)
        race(f"{LEARNED}, {COMPILED}", spec, [*_compiled(spec, x, plan, missing)])
    return _told(rows, missing, size, plan)


def shape(layers: int, width: int, length: int, rotary: bool = False) -> dict[str, Any]:
    """The spec of GPT-2 at another size; with rotary positions the table of the last map is its own, as in litgpt."""
    spec: dict[str, Any] = read_tree(locate("gpt2")) | {"width": width}
    spec["position"] = {"use": "rope"} if rotary else {"use": "learned", "length": length}
    spec["embed"] |= {"vocab": VOCAB}
    spec["head"] |= {"vocab": VOCAB, "tie": not rotary}
    spec["schedule"][0] |= {"repeat": layers}
    spec["schedule"][0]["mixer"] |= {"heads": HEADS}
    return spec


def loss(model: Model, x: Tensor) -> Tensor:
    """Ours, as `panformer train` computes it."""
    read, target = OBJECTIVE.corrupt(x, Layout.dense(x.shape[0], x.shape[1], device=x.device), torch.Generator())
    found: Tensor = OBJECTIVE.loss(model(read), target)["loss"]
    return found


def step(module: nn.Module, loss: Callable[[], Tensor], precision: str) -> Callable[[], None]:
    """One step of the optimiser."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        _backward(module, loss, precision)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def _backward(module: nn.Module, loss: Callable[[], Tensor], precision: str) -> None:
    device = next(module.parameters()).device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision.startswith("bf16")):
        value = loss()
    value.backward()


def _contestant(name: str, precision: str, module: nn.Module, loss: Callable[[], Tensor], table: Tensor) -> Contestant:
    """`table` is the parameter whose gradient is compared."""

    def answer() -> Tensor:
        _backward(module, loss, precision)
        assert table.grad is not None
        found = table.grad.float().cpu().clone()
        module.zero_grad(set_to_none=True)
        return found

    return Contestant(name, precision, timed(step(module, loss, precision)), answer)


def _ours(model: Model, precision: str, x: Tensor) -> Contestant:
    model = model.train().to(x.device)
    run: Any = torch.compile(loss) if precision.endswith(COMPILED) else loss
    table: Any = model.embed.table
    return _contestant(OURS, precision, model, partial(run, model, x), table.weight)


def _here(spec: Mapping[str, Any], precision: str, x: Tensor) -> list[Contestant]:
    """Ours and transformers' GPT-2 with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        peer = peers.gpt2(spec["schedule"][0]["repeat"], spec["width"], HEADS, VOCAB, x.shape[1]).train()
    ours = build(spec, seed=0)
    peers.copy_gpt2(peer, ours)
    peer = peer.to(x.device)
    table = peer.transformer.wte.weight
    return [
        _ours(ours, precision, x),
        _contestant("transformers", precision, peer, lambda: peers.next_token(peer(x).logits, x), table),
    ]


def _compiled(spec: Mapping[str, Any], x: Tensor, plan: Plan, missing: dict[str, str]) -> Iterator[Contestant]:
    """Ours and a GPT written plainly, both by torch.compile; ours as it is comes first, for the truth."""
    yield _ours(build(spec, seed=0), "fp32", x)
    for name in PRECISIONS:
        precision = f"{name} {COMPILED}"
        gpt = peers.Gpt(build(spec, seed=0)).train().to(x.device)
        theirs = _contestant("plain GPT", precision, gpt, partial(torch.compile(gpt), x), gpt.table.weight)
        for one in (_ours(build(spec, seed=0), precision, x), theirs):
            began = time.perf_counter()
            try:
                one.answer()
            except (RuntimeError, OSError) as fault:  # no compiler, or one that fails
                missing[one.full] = " ".join(str(fault).split())[:250]
                plan.say(f"  {one.full} cannot run: {missing[one.full]}")
                continue
            plan.say(f"  compiled {one.full} in {time.perf_counter() - began:.0f} s")
            yield one


def _litgpt(stack: ExitStack, ours: Model, x: Tensor, plan: Plan, missing: dict[str, str]) -> list[Contestant]:
    """litgpt's GPT with our weights, in a process of its own."""
    python, failed = prepare("long", BESIDE, plan.say, alone=(LITGPT,))
    missing |= failed
    if failed or x.device.type != "cpu":
        missing.setdefault("litgpt", "it races on a CPU")
        return []
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    weights: dict[str, Any] = {name: t.numpy() for name, t in peers.for_litgpt(ours).items()}
    np.savez(home / "weights.npz", **weights)
    np.save(home / "tokens.npy", x.numpy())
    setup = {"weights": str(home / "weights.npz"), "tokens": str(home / "tokens.npy"), "heads": HEADS}
    return invite(stack, python, OUTSIDE / "peer_train.py", {"litgpt": tuple(PRECISIONS)}, setup, plan, missing)


def _told(
    rows: list[dict[str, Any]], missing: Mapping[str, str], size: Mapping[str, int], plan: Plan
) -> dict[str, Any]:
    def of(task: str) -> list[dict[str, Any]]:
        return [r for r in rows if r["task"] == task]

    goals = [goal(f"{p} against transformers", of(LEARNED), p, 1.4, (p,)) for p in PRECISIONS]
    goals += [goal(f"{p} against litgpt", of(ROTARY), p, 1.0, (p,)) for p in PRECISIONS]
    goals += [
        goal(
            f"{p} against a plain GPT, both {COMPILED}",
            of(f"{LEARNED}, {COMPILED}"),
            f"{p} {COMPILED}",
            1.0,
            (f"{p} {COMPILED}",),
        )
        for p in PRECISIONS
    ]
    return {
        "suite": "train", "what": train.__doc__, "rows": list(rows), "goals": [g for g in goals if g is not None],
        "missing": dict(missing), "size": dict(size), "rounds": plan.rounds, "device": plan.device,
    }  # fmt: skip
