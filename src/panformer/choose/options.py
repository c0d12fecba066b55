"""What a person asks `panformer choose` for, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..core.part import parse


class Limits(BaseModel):
    """What a model may cost, at most: all of it is measured at `batch` rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latency_ms: float | None = Field(None, gt=0)
    memory_mb: float | None = Field(None, gt=0)
    size_mb: float | None = Field(None, gt=0)

    @property
    def free(self) -> bool:
        """Whether nothing is limited."""
        return self.latency_ms is None and self.memory_mb is None and self.size_mb is None

    def over(self, cost: Mapping[str, float | None]) -> dict[str, float]:
        """By what factor each limit is missed; `cost` has the same names and may lack some."""
        asked = {n: v for n, v in self.model_dump().items() if v is not None}
        return {n: found / v for n, v in asked.items() if (found := cost.get(n)) is not None and found > v}

    def says(self, cost: Mapping[str, float | None]) -> str:
        """What is missed, in words; empty where everything fits."""
        units = {"latency_ms": ("latency", "ms"), "memory_mb": ("peak memory", "MB"), "size_mb": ("size", "MB")}
        limit = self.model_dump()
        return ", ".join(
            f"{units[n][0]} {cost[n]:.3g} {units[n][1]} is over the limit of {limit[n]:g} {units[n][1]}"
            for n in self.over(cost)
        )


class Options(BaseModel):
    """One run of `panformer choose`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str
    target: str | None = None
    task: str = "auto"
    horizon: int | None = Field(None, gt=0)
    lookback: int | None = Field(None, gt=0)
    season: int | None = Field(None, gt=0)
    minutes: float = Field(10, gt=0, le=10_000)
    limits: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    batch: int = Field(1, gt=0, le=4096, description="rows of one call, where latency and memory are measured")
    seeds: int = Field(3, gt=0, le=100)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = Field(0, ge=0, lt=2**63)

    @property
    def source(self) -> dict[str, Any]:
        """How the data was opened: what `open_data` takes."""
        names = ("target", "task", "seed", "horizon", "lookback", "season")
        return {n: getattr(self, n) for n in names}


def options(**given: Any) -> Options:
    """Checked options; a fault is one line that names the option."""
    return parse(Options, given, "choose")
