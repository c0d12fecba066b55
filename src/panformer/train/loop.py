"""Training: one plain loop that any objective and any batches go through, resumable to the bit.

The same seed, threads and versions give the same weights, also after an interruption and a resume, and
after a resume of a resume.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ..core.errors import InputError, PanformerError
from ..core.families import Objective
from ..core.layout import Batch
from ..core.part import Part
from ..model.model import Model
from . import checkpoint, stream
from .given import cut, given, repeated
from .interrupt import Interrupted, Stopper
from .low_bit import low_bit
from .recompute import tokens_again


class Train(BaseModel):
    """How a model is trained. Rates are per step of the whole batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(1000, gt=0)
    batch: int = Field(32, gt=0)
    rate: float = Field(1e-3, gt=0, description="the highest learning rate")
    decay: float = Field(0.01, ge=0, description="weight decay, on matrices only")
    warmup: float = Field(0.05, ge=0, le=1, description="share of the steps with a rising rate")
    shape: Literal["cosine", "wsd", "constant"] = "cosine"  # wsd: flat, then the last fifth falls to zero
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    micro: int = Field(1, gt=0, description="pieces a batch is cut into, to save memory")
    tokens: int = Field(256, gt=1, description="language: window length")
    check: int = Field(0, ge=0, description="steps between validations; 0: ten over the run")
    patience: int = Field(0, ge=0, description="validations without progress before stopping; 0: never")
    minutes: float | None = Field(None, gt=0, description="stop after this much training time")
    precision: Literal["fp32", "bf16"] = "fp32"
    activations: Literal["exact", "int8", "recompute", "stream"] = Field(
        "exact", description="how the backward pass gets them: kept as they are or in 8 bits, made again, or in pieces"
    )
    kept: float = Field(0.0, ge=0, le=1, description="recompute: share of the tokens whose channels keep theirs")
    piece: int = Field(512, gt=0, description="stream: tokens per piece")
    seed: int = 0


class Batches(Protocol):
    """What the loop reads: batches with x, lengths and y, and a position that can be written down.

    Batches for an encoder-decoder also bring a `source`; see `given.py`.
    """

    def __iter__(self) -> Iterator[Any]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass
class Fit:
    """What happened: the loss of every step, validations as (step, value), and why training ended."""

    losses: list[float] = field(default_factory=list)
    checks: list[tuple[int, float]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    seconds: float = 0.0
    ended: str = ""
    stats: dict[str, list[float]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return len(self.losses)


Validate = Callable[[Model], float]
Watch = Callable[[Fit, Train], None]


def fit(
    model: Model,
    objective: Objective,
    batches: Batches,
    how: Train,
    validate: Validate | None = None,
    lower: bool = True,
    folder: Path | None = None,
    watch: Watch | None = None,
) -> Fit:
    """Train `model` in place; where there is a validation, its best weights are what it ends with.

    `folder` keeps a checkpoint at every validation and at Ctrl-C, and is continued from if it holds one.
    Raises Interrupted after saving, and PanformerError at a loss that is not finite.
    """
    run = _Run(model, objective, batches, how, validate, lower, folder)
    if folder is not None and checkpoint.exists(folder):
        run.restore()
    with Stopper() as stopper:
        model.train()
        feed = _endless(batches)
        while not run.over():
            run.step(next(feed))
            if watch is not None:
                watch(run.fit, how)
            if stopper.asked:
                run.save()
                raise Interrupted(f"stopped at step {run.fit.steps} of {how.steps}; run again to go on")
    run.end()
    return run.fit


class _Run:
    """The moving parts of one training run, so that saving and restoring see all of them."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        batches: Batches,
        how: Train,
        validate: Validate | None,
        lower: bool,
        folder: Path | None,
    ) -> None:
        self.model, self.objective, self.batches, self.how = model, objective, batches, how
        self.validate, self.sign, self.folder = validate, 1.0 if lower else -1.0, folder
        self.every = how.check or max(1, math.ceil(how.steps / 10))
        self.optimizer = _optimizer(model, how)
        self.parts = parts(model)
        self.rng = torch.Generator().manual_seed(how.seed)
        self.fit, self.stale = Fit(), 0
        self.best: dict[str, Tensor] | None = None
        torch.manual_seed(how.seed)

    def over(self) -> bool:
        if self.fit.steps >= self.how.steps:
            self.fit.ended = "all steps done"
        elif self.how.minutes is not None and self.fit.seconds >= 60 * self.how.minutes:
            self.fit.ended = "time is up"
        elif self.how.patience and self.stale >= self.how.patience:
            self.fit.ended = "no more progress"
        return bool(self.fit.ended)

    def step(self, batch: Any) -> None:
        began = time.perf_counter()
        rate = self.how.rate * schedule(self.fit.steps / self.how.steps, self.how)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._gradients(batch)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.how.clip)
        self.optimizer.step()
        with torch.no_grad():
            for part in self.parts:
                part.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        self.fit.losses.append(loss)
        self.fit.seconds += time.perf_counter() - began
        if self.validate is not None and (self.fit.steps % self.every == 0 or self.fit.steps == self.how.steps):
            self._check()

    def _gradients(self, batch: Any) -> float:
        """Gradients of one batch; in `micro` pieces they are those of the whole, weighted by what each counts."""
        total, count = 0.0, 0.0
        stats: dict[str, Tensor] = {}
        pieces = cut(batch, self.how.micro)
        device = next(self.model.parameters()).device.type
        for piece in pieces:
            with torch.autocast(device, torch.bfloat16, self.how.precision == "bf16"):
                losses, stats = compute(self.model, self.objective, piece, self.rng, self.how)
            value, terms = losses["loss"], float(losses["count"]) if len(pieces) > 1 else 1.0
            if not torch.isfinite(value):
                raise PanformerError(f"the loss is {value.item()} at step {self.fit.steps + 1}: {self._culprit(piece)}")
            (value * terms).backward()
            total, count = total + value.item() * terms, count + terms
        if len(pieces) > 1:
            for p in self.model.parameters():
                if p.grad is not None:
                    p.grad /= count
        self.fit.stats = {name: stat.flatten().tolist() for name, stat in stats.items()}
        return total / count

    def _check(self) -> None:
        assert self.validate is not None
        self.model.eval()
        value = self.validate(self.model)
        self.model.train()
        self.fit.checks.append((self.fit.steps, value))
        if self.fit.best is None or self.sign * value < self.sign * self.fit.best:
            self.fit.best, self.fit.best_step, self.stale = value, self.fit.steps, 0
            self.best = {n: p.detach().clone() for n, p in checkpoint.tensors(self.model).items()}
        else:
            self.stale += 1
        if self.folder is not None:
            self.save()

    def _culprit(self, piece: Any) -> str:
        """The first module whose output is not finite."""
        found: list[str] = []

        def look(name: str) -> Callable[..., None]:
            def hook(_m: nn.Module, _i: Any, out: Any) -> None:
                if isinstance(out, Tensor) and not torch.isfinite(out).all():
                    found.append(name)

            return hook

        hooks = [m.register_forward_hook(look(n)) for n, m in self.model.named_modules() if n]
        with torch.no_grad():
            compute(self.model, self.objective, piece, self.rng)
        for hook in hooks:
            hook.remove()
        return f"first in {found[0]}" if found else "all modules are finite; look at the targets"

    def end(self) -> None:
        if self.best is not None:
            checkpoint.fill(self.model, self.best)
        self.model.eval()

    def save(self) -> None:
        if self.folder is not None:
            kept = {"fit": asdict(self.fit), "stale": self.stale, "batches": self.batches.state()}
            checkpoint.save(self.folder, self.model, self.optimizer, self.rng, self.best, kept, self.how.model_dump())

    def restore(self) -> None:
        assert self.folder is not None
        kept, self.best = checkpoint.load(self.folder, self.model, self.optimizer, self.rng, self.how.model_dump())
        self.fit, self.stale = Fit(**kept["fit"]), kept["stale"]
        self.fit.checks = [(int(s), float(v)) for s, v in self.fit.checks]
        self.fit.ended = ""
        self.batches.restore(kept["batches"])


def compute(
    model: Model, objective: Objective, batch: Any, rng: torch.Generator, how: Train | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(named losses with auxiliary ones added into "loss", stats) of one batch; activations are kept as `how` says."""
    read, target = given(objective, batch, rng, next(model.parameters()).device)
    if how is not None and how.activations == "stream":
        if objective.passes > 1:
            raise InputError(f"no gradients in pieces: {objective.use()} reads every batch {objective.passes} times")
        if isinstance(read.x, Batch) or read.source is not None:
            raise InputError("no gradients in pieces: the batch has a source")
        return stream.losses(model, objective, read.x, read.lengths, target, how.piece), {}
    with _keeping(model, how):
        run = model.run(*repeated(read, objective.passes))
    losses = dict(objective.loss(run.out, target))
    for name, extra in run.losses.items():
        losses[name] = extra
        losses["loss"] = losses["loss"] + extra
    return losses, run.stats


def _keeping(model: Model, how: Train | None) -> AbstractContextManager[None]:
    """How a forward pass keeps what its backward pass needs."""
    if how is not None and how.activations == "int8":
        return low_bit([*model.parameters(), *model.buffers()])
    if how is not None and how.activations == "recompute":
        return tokens_again(model, how.kept)
    return nullcontext()


def schedule(done: float, how: Train) -> float:
    """The share of the highest rate after `done` (0 to 1) of the steps."""
    if done < how.warmup:
        return (done * how.steps + 1) / (how.warmup * how.steps + 1)
    if how.shape == "constant":
        return 1.0
    if how.shape == "wsd":
        return min(1.0, (1 - done) / 0.2)
    after = (done - how.warmup) / max(1 - how.warmup, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * after))


def parts(model: nn.Module) -> list[Part]:
    """Whose `after_step` follows a step of the optimiser."""
    return [m for m in model.modules() if isinstance(m, Part)]


def _optimizer(model: nn.Module, how: Train) -> torch.optim.AdamW:
    """AdamW; only matrices decay, but for those that their part wants left alone."""
    spared = {id(getattr(m, n)) for m in model.modules() for n in getattr(type(m), "undecayed", ())}
    own = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in own if p.dim() > 1 and id(p) not in spared]
    rest = [p for p in own if p.dim() <= 1 or id(p) in spared]
    groups = [{"params": matrices, "weight_decay": how.decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=how.rate, betas=(0.9, 0.98), fused=True)


def _endless(batches: Batches) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise PanformerError("the training split has no batches")
