"""The search: equal time for every mixer, then equal time for the best of them, by Optuna with successive halving.

Optuna's own storages do not keep the state of its sampler, so that a study taken up again goes on differently.
Here every trial is a unit of the store, and a resumed study is told the stored trials in their order first: the
sampler draws the same numbers again and stands where it stood (Akiba et al. 2019; Jamieson and Talwalkar 2016).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..core.errors import InputError, PanformerError, require
from ..data.base import Dataset
from ..measure.latency import latency
from ..model.build import build
from ..train.interrupt import Interrupted
from . import forms, propose, trial
from .options import Options
from .plan import SearchPlan
from .store import Store
from .trial import Choice, Pace

Say = Callable[[str], None]
MOST = 200  # trials of one mixer


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

    def pace(self, mixer: str, number: int, choice: Choice) -> Pace | str:
        """The probed pace of a choice, or why it is out: its measured cost, or a fault."""
        body = self.store.once(f"probe/{mixer}/{number}", "probe", lambda: self._probe(mixer, choice))
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
        if limits == type(limits)():
            return ""
        model = build(forms.spec(self.data.task, mixer, choice), seed=0).eval()
        rows = propose.sample(self.data, self.options.batch)
        cost: dict[str, float | None] = {"size_mb": sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6}
        if limits.memory_mb is not None:
            cost["memory_mb"] = propose.costs(model, rows)["memory_mb"]
        if limits.latency_ms is not None:
            cost["latency_ms"] = latency(lambda: model(rows.x, rows.lengths), 0.2).median
        return limits.says(cost)

    def run(self, mixer: str, number: int, choice: Choice, seconds: float, judge: Callable[[int, float], None]) -> dict[str, Any]:
        """One finished trial: how it ended, its best value, and what it cost by its probed pace."""
        return self.store.once(
            f"trial/{mixer}/{number}", "search", lambda: self._train(mixer, number, choice, seconds, judge)
        )

    def _train(
        self, mixer: str, number: int, choice: Choice, seconds: float, judge: Callable[[int, float], None]
    ) -> dict[str, Any]:
        pace = self.pace(mixer, number, choice)
        body: dict[str, Any] = {"mixer": mixer, "choice": dict(choice), "checks": [], "planned": 0.2, "state": "refused"}
        if isinstance(pace, str):
            return {**body, "why": pace}
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
        except (Interrupted, InputError):
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
            body = self.run(mixer, 0, self.proposal.families[mixer].default, plan.trial, lambda *_: None)
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
        study = optuna.create_study(
            direction="minimize" if self.data.task.lower_is_better else "maximize",
            sampler=optuna.samplers.TPESampler(seed=trial.seed_of(self.options.seed, mixer), n_startup_trials=4),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
        )
        study.enqueue_trial(self._known(mixer))
        spent, number = 0.0, 0
        while number == 0 or (spent + plan.trial <= plan.family + 0.5 * plan.trial and number < MOST):
            asked = study.ask()
            choice = self._draw(mixer, asked)
            body = self.run(mixer, number, choice, plan.trial, lambda check, value: _judge(asked, check, value))
            self._tell(study, asked, body)
            if number:  # the first is that of the first round
                spent += body["planned"]
                self.say(f"search, round 2: {mixer} {self._told(body)}")
            number += 1

    def best(self) -> dict[str, dict[str, Any]]:
        """The best finished trial of each mixer, best mixer first."""
        found: dict[str, dict[str, Any]] = {}
        for key, body in self.store.stage("search").items():
            if body["state"] != "complete":
                continue
            mixer = body["mixer"]
            if mixer not in found or self.sign * body["value"] < self.sign * found[mixer]["value"]:
                found[mixer] = {**body, "key": key}
        return dict(sorted(found.items(), key=lambda kv: (self.sign * kv[1]["value"], kv[0])))

    @property
    def sign(self) -> float:
        return 1.0 if self.data.task.lower_is_better else -1.0

    def _known(self, mixer: str) -> dict[str, Any]:
        """The default choice in Optuna's terms."""
        default = dict(self.proposal.families[mixer].default)
        return default if forms.forms(self.data.task)[default["form"]].ordered else {**default, "position": None}

    def _draw(self, mixer: str, asked: Any) -> dict[str, Any]:
        """A choice from the space of a mixer; a form without order has no positions."""
        family = self.proposal.families[mixer]
        choice = {n: asked.suggest_categorical(n, v) for n, v in sorted(family.space.items()) if n != "position"}
        choice["rate"] = asked.suggest_float("rate", *family.rate, log=True)
        ordered = forms.forms(self.data.task)[choice["form"]].ordered
        choice["position"] = asked.suggest_categorical("position", family.space["position"]) if ordered else "none"
        return choice

    def _tell(self, study: Any, asked: Any, body: dict[str, Any]) -> None:
        state = require("optuna", "choose").trial.TrialState
        told = asked.storage if hasattr(asked, "storage") else study._storage
        del told
        for check, (_, value) in enumerate(body["checks"], 1):
            if check not in asked._cached_frozen_trial.intermediate_values:
                asked.report(value, check)
        if body["state"] == "complete":
            study.tell(asked, body["value"])
        else:
            study.tell(asked, state=state.PRUNED if body["state"] == "pruned" else state.FAIL)

    def _told(self, body: dict[str, Any]) -> str:
        if body.get("value") is None:
            return f"{body['state']}: {body.get('why', 'no validation')}"
        return f"{self.data.task.measure} {body['value']:.4f} ({body['state']}, {body['steps']} steps)"


def _judge(asked: Any, check: int, value: float) -> None:
    asked.report(value, check)
    if check < trial.CHECKS and asked.should_prune():
        raise Pruned


def proposal_only(proposal: propose.Proposal, mixers: tuple[str, ...]) -> propose.Proposal:
    """The proposal with these mixers alone."""
    return replace(proposal, families={m: proposal.families[m] for m in mixers})
