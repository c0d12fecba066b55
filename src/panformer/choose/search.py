"""The search: equal time for every mixer, then equal time for the best of them, by Optuna with successive halving.

Optuna's own storages do not keep the state of its sampler, so that a study taken up again goes on differently.
Here every trial is a unit of the store, and a resumed study is told the stored trials in their order first: the
sampler draws the same numbers again and stands where it stood (Akiba et al. 2019; Jamieson and Talwalkar 2016).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ..core.errors import PanformerError, require
from ..data.base import Dataset
from ..measure.latency import latency
from ..measure.store import Store
from ..model.build import build
from ..train.interrupt import Interrupted
from . import forms, propose, trial
from .options import Options
from .plan import SearchPlan
from .trial import Choice, Pace

Say = Callable[[str], None]
MOST = 200  # trials of one mixer
REFUSED = 0.2  # seconds that a trial counts which was not even begun


class Pruned(Exception):
    """A trial that is worse than most at this point."""


@dataclass
class Search:
    data: Dataset  # with the validation split that trials are judged on
    proposal: propose.Proposal
    options: Options
    store: Store
    say: Say

    # ---- units

    def first(self, mixer: str) -> tuple[Choice, Pace | str]:
        """The choice a mixer begins with, and its pace or why it is out: the default, or where that is over the
        limits the smallest."""
        family, why = self.proposal.families[mixer], ""
        for name, choice in (("first", family.default), ("least", family.least)):
            found = self.pace(mixer, name, choice)
            if isinstance(found, Pace):
                return choice, found
            why = found
        return family.least, why

    def pace(self, mixer: str, name: str, choice: Choice) -> Pace | str:
        """The probed pace of a choice, or why it is out: its measured cost, or a fault."""
        body = self.store.once(f"probe/{mixer}/{name}", "probe", lambda: self._probe(mixer, choice))
        return body["why"] if "why" in body else Pace(**body)

    def _probe(self, mixer: str, choice: Choice) -> dict[str, Any]:
        try:
            if why := self._too_much(mixer, choice):
                return {"why": why}
            patience = 1.0 if self.options.minutes < 5 else 3.0
            return asdict(trial.probe(self.data, mixer, choice, self.proposal.batch, patience))
        except Interrupted:
            raise
        except (PanformerError, RuntimeError) as fault:
            return {"why": f"failed in its probe: {' '.join(str(fault).split())[:200]}"}

    def _too_much(self, mixer: str, choice: Choice) -> str:
        """Which limit the untrained model already breaks: counted size and memory, measured latency."""
        limits = self.options.limits
        if limits.free:
            return ""
        model = build(forms.spec(self.data.task, mixer, choice), seed=0).eval()
        rows = propose.sample(self.data, self.options.batch)
        cost: dict[str, float | None] = {"size_mb": sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6}
        if limits.memory_mb is not None:
            cost["memory_mb"] = propose.costs(model, rows)["memory_mb"]
        if limits.latency_ms is not None:
            cost["latency_ms"] = latency(lambda: model(rows.x, rows.lengths), 0.2).median
        return limits.says(cost)

    def run(
        self, mixer: str, number: int, choice: Choice, seconds: float, judge: Callable[[int, float], None]
    ) -> dict[str, Any]:
        """One finished trial: how it ended, its best value, and what it cost by its probed pace."""
        pace = self.first(mixer)[1] if number == 0 else self.pace(mixer, str(number), choice)
        return self.store.once(
            f"trial/{mixer}/{number}", "search", lambda: self._train(mixer, number, choice, pace, seconds, judge)
        )

    def _train(
        self,
        mixer: str,
        number: int,
        choice: Choice,
        pace: Pace | str,
        seconds: float,
        judge: Callable[[int, float], None],
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "mixer": mixer,
            "choice": dict(choice),
            "checks": [],
            "planned": REFUSED,
            "state": "refused",
        }
        if isinstance(pace, str):
            return {**body, "why": pace}
        body["pace"] = asdict(pace)
        steps = pace.steps(seconds)
        how = trial.how(choice, steps, self.proposal.batch, trial.seed_of(self.options.seed, mixer, number))

        def keep(check: int, value: float) -> None:
            body["checks"].append([min(check * how.check, steps), value])
            judge(check, value)

        began = time.perf_counter()
        try:
            trial.train(self.data, mixer, choice, how, keep)
            body["state"] = "complete"
        except Pruned:
            body["state"] = "pruned"
        except Interrupted:
            raise
        except (PanformerError, RuntimeError) as fault:
            body.update(state="failed", why=" ".join(str(fault).split())[:200])
        done = body["checks"][-1][0] if body["checks"] else steps
        values = [v for _, v in body["checks"]]
        best = (min(values) if self.data.task.lower_is_better else max(values)) if values else None
        took = time.perf_counter() - began
        return {**body, "value": best, "steps": done, "planned": pace.seconds(done, len(values)), "took": took}

    # ---- rounds

    def screen(self, plan: SearchPlan) -> list[str]:
        """One trial of every mixer with its default choice; the best of them, best first."""
        values: dict[str, float] = {}
        for i, mixer in enumerate(plan.mixers):
            body = self.run(mixer, 0, self.first(mixer)[0], plan.trial, lambda *_: None)
            self.say(f"search, round 1, {i + 1} of {len(plan.mixers)}: {mixer} {self._told(body)}")
            if body.get("value") is not None and body["state"] == "complete":
                values[mixer] = self.sign * body["value"]
        if not values:
            raise PanformerError("no candidate could be trained; results.sqlite holds the reason of each")
        return sorted(values, key=lambda m: (values[m], m))[: plan.kept]

    def refine(self, mixer: str, plan: SearchPlan) -> None:
        """Trials of one mixer until its time, counted by probed paces, is used up."""
        optuna = require("optuna", "choose")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        states = optuna.trial.TrialState
        study = optuna.create_study(
            direction="minimize" if self.data.task.lower_is_better else "maximize",
            sampler=optuna.samplers.TPESampler(seed=trial.seed_of(self.options.seed, mixer), n_startup_trials=4),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
        )
        study.enqueue_trial(self._known(mixer))
        spent, number = 0.0, 0
        while number == 0 or (spent + plan.trial / 2 <= plan.family and number < MOST):
            asked = study.ask()
            choice = self._draw(mixer, asked)
            stored = self.store.get(f"trial/{mixer}/{number}")
            body = self.run(mixer, number, choice, plan.trial, partial(_judge, asked))
            for check, (_, value) in enumerate(body["checks"] if stored else [], 1):
                asked.report(value, check)
            ended = {"complete": states.COMPLETE, "pruned": states.PRUNED}.get(body["state"], states.FAIL)
            study.tell(asked, body["value"] if body["state"] == "complete" else None, ended)
            if number:  # the first is that of the first round
                spent += body["planned"]
                if not stored:
                    self.say(f"search, round 2: {mixer} {self._told(body)}")
            number += 1

    def best(self) -> dict[str, dict[str, Any]]:
        """The best finished trial of each mixer, best mixer first."""
        found: dict[str, dict[str, Any]] = {}
        for body in self.store.stage("search").values():
            if body["state"] != "complete":
                continue
            mixer = body["mixer"]
            if mixer not in found or self.sign * body["value"] < self.sign * found[mixer]["value"]:
                found[mixer] = body
        return dict(sorted(found.items(), key=lambda kv: (self.sign * kv[1]["value"], kv[0])))

    @property
    def sign(self) -> float:
        return 1.0 if self.data.task.lower_is_better else -1.0

    def _known(self, mixer: str) -> dict[str, Any]:
        """The first choice in Optuna's terms."""
        default = dict(self.first(mixer)[0])
        if not forms.forms(self.data.task)[default["form"]].ordered:
            default.pop("position")
        return default

    def _draw(self, mixer: str, asked: Any) -> dict[str, Any]:
        """A choice from the space of a mixer; a form without order has no positions."""
        family = self.proposal.families[mixer]
        choice = {n: asked.suggest_categorical(n, v) for n, v in sorted(family.space.items()) if n != "position"}
        choice["rate"] = asked.suggest_float("rate", *family.rate, log=True)
        ordered = forms.forms(self.data.task)[choice["form"]].ordered
        choice["position"] = asked.suggest_categorical("position", family.space["position"]) if ordered else "none"
        return choice

    def _told(self, body: dict[str, Any]) -> str:
        if body.get("value") is None:
            return f"{body['state']}: {body.get('why', 'no validation')}"
        return f"{self.data.task.measure} {body['value']:.4f} ({body['state']}, {body['steps']} steps)"


def _judge(asked: Any, check: int, value: float) -> None:
    asked.report(value, check)
    if check < trial.CHECKS and asked.should_prune():
        raise Pruned
