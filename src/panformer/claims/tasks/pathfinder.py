"""Pathfinder: do two circles lie on the ends of one dashed curve, or of two? A picture as a row of pixels.

Linsley et al. 2018; Kim et al. 2020; Tay et al. 2020, Long Range Arena (32 x 32; Path-X is 128 x 128). Two long curves
begin `apart` from each other and never touch; shorter ones distract. One circle is on the beginning of one of the two,
the other on the end of the same curve or of the other one, which lie equally far from that beginning, to the pixel: so
neither the distance of the circles nor anything else that is drawn tells the answer, but the way between them. Curves are chains of `paddles` strokes of length `stroke`
with a `gap` between; each turns from the last by an angle drawn with weight cos^2(bend * angle). Drawn anew for every
example, in code of this library; the published pictures come from other code with the same plan. What is not set is as
published for sides of 32, 64 and 128 (but strokes of a pixel, not half of one, at 32), and smaller for smaller sides.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ...core.errors import InputError
from ._base import Batch, Options, Task, draw

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
TURNS = np.linspace(-math.pi / 2, math.pi / 2, 25)  # directions that a stroke may take from the last
EDGE = 1.0  # pixels at the border where no stroke lies
TRIES = 100  # rounds without a picture after which there is taken to be no room


class Plan(Options):
    """What is drawn, in pixels and numbers of strokes."""

    side: int
    paddles: int
    short: int
    distractors: int
    stroke: float
    gap: float
    bend: float
    apart: float
    thick: float = 1.0
    radius: float = 1.5


SIZES: dict[int, dict[str, float]] = {  # from this side on
    8: {"paddles": 3, "short": 2, "distractors": 0, "stroke": 2, "gap": 1, "bend": 1, "apart": 4},
    16: {"paddles": 5, "short": 2, "distractors": 2, "stroke": 2, "gap": 1, "bend": 1, "apart": 5},
    32: {"paddles": 14, "short": 4, "distractors": 5, "stroke": 2, "gap": 1, "bend": 1, "apart": 7},
    64: {"paddles": 14, "short": 4, "distractors": 5, "stroke": 5, "gap": 1, "bend": 1.8, "apart": 12, "radius": 2.5},
    128: {
        "paddles": 14, "short": 4, "distractors": 8, "stroke": 5, "gap": 2.5, "bend": 1.8, "apart": 20, "thick": 1.5,
        "radius": 3,
    },
}  # fmt: skip


class Pathfinder(Task):
    class Config(Options):
        side: int = Field(16, ge=8, description="pixels of each side")
        paddles: int | None = Field(None, ge=2, description="strokes of a long curve")
        distractors: int | None = Field(None, ge=0, description="shorter curves, as far as they fit")
        stroke: float | None = Field(None, gt=0)
        gap: float | None = Field(None, ge=0)
        bend: float | None = Field(None, gt=0, description="the higher, the straighter")
        apart: float | None = Field(None, gt=0, description="pixels between the beginnings of the two curves")
        levels: int = Field(16, ge=2, le=256, description="of grey")

        @model_validator(mode="after")
        def _fits(self):
            if self.side - 2 * EDGE <= self.plan.apart:
                raise ValueError("the beginnings are further apart than the picture is wide")
            return self

        @property
        def plan(self) -> Plan:
            given = self.model_dump(exclude={"levels"}, exclude_none=True)
            return Plan(**{**SIZES[max(side for side in SIZES if side <= self.side)], **given})

    def ends(self):
        return {
            "embed": {"use": "tokens", "vocab": self.config.levels},
            "head": {"use": "classify", "classes": 2},
        }

    def batch(self, rng, size):
        """Every picture that is drawn comes in its eight turns and reflections, each with circles of its own."""
        return self._made(rng, size, True)

    def test(self, rng, size):
        return self._made(rng, size, False)

    def _made(self, rng: torch.Generator, size: int, turn: bool) -> Batch:
        dice = np.random.default_rng(int(draw(rng, 0, 2**31, 1)))
        ink, curves, one = drawn(self.config.plan, dice, -(-size // 8) if turn else size)
        if turn:
            ink, curves, one = turned(ink, curves, one)
        pictures, same = circled(self.config.plan, dice, ink[:size], curves[:size], one[:size])
        grey = np.rint(pictures * (self.config.levels - 1)).astype(np.int64)
        return Batch(torch.from_numpy(grey).flatten(1), y=torch.from_numpy(same.astype(np.int64)))


def drawn(c: Plan, dice: np.random.Generator, size: int) -> tuple[Floats, Floats, Ints]:
    """(ink (N, side, side) in [0, 1], the long curves (N, 2, points, 2), on which of them the first circle goes (N,))."""
    found: list[tuple[Floats, Floats, Ints]] = []
    tries = 0
    while missing := size - sum(len(curves) for _, curves, _ in found):
        canvas = _Canvas(c, dice, 8 * missing)
        curves = canvas.long()
        first = _even(curves)
        kept = (canvas.alive & (first >= 0)).nonzero()[0][:missing]
        tries = 0 if len(kept) else tries + 1
        if tries == TRIES:
            raise InputError(
                f"pathfinder: {c.side} pixels a side have hardly room for two curves of {c.paddles} strokes"
            )
        canvas.keep(kept)
        for _ in range(c.distractors):
            canvas.short()
        found.append((canvas.ink[:, canvas.pad : -canvas.pad, canvas.pad : -canvas.pad], curves[kept], first[kept]))
    ink, curves, one = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return ink, curves, one


def turned(ink: Floats, curves: Floats, one: Ints) -> tuple[Floats, Floats, Ints]:
    """What was drawn, eight times as many: each as it is, upside down, left for right, rows for columns, and both."""
    last = ink.shape[-1] - 1
    both = [(ink, curves), (ink.transpose(0, 2, 1), curves[..., ::-1])]
    for axis in (0, 1):
        both += [(np.flip(x, 1 + axis), np.where(np.arange(2) == axis, last - at, at)) for x, at in both]
    ink, curves = (np.stack(side, 1).reshape(-1, *side[0].shape[1:]) for side in zip(*both, strict=True))
    return ink, curves, one.repeat(len(both))


def circled(c: Plan, dice: np.random.Generator, ink: Floats, curves: Floats, one: Ints) -> tuple[Floats, Bools]:
    """(pictures with circles, whether they are the ends of one curve (N,))."""
    same, rows = dice.random(len(ink)) < 0.5, np.arange(len(ink))
    for centre in (curves[rows, one, 0], curves[rows, np.where(same, one, 1 - one), -1]):
        away = np.linalg.norm(_square(range(c.side)).reshape(c.side, c.side, 2) - centre[:, None, None], axis=-1)
        ink = np.maximum(ink, np.clip(0.5 + c.radius - away, 0, 1))
    return ink, same


def _even(curves: Floats) -> Ints:
    """Which of two curves (N, 2, points, 2) begins as far from its own end as from the other's, in whole pixels; -1: none."""
    starts, ends = curves[:, :, 0], curves[:, :, -1]
    away = np.rint(np.linalg.norm(starts[:, :, None] - ends[:, None], axis=-1))  # (N, start, end)
    even = away[:, :, 0] == away[:, :, 1]
    return np.where(even.any(-1), even.argmax(-1), -1)


class _Canvas:
    """Many pictures at once: their ink, and how near the middle of each pixel is to strokes that others may not touch.

    Both have `pad` more pixels on every side, so that what a stroke changes is one square of `cells` around it.
    """

    def __init__(self, c: Plan, dice: np.random.Generator, count: int) -> None:
        self.c, self.dice, self.rows = c, dice, np.arange(count)
        self.clear = 1.0 + c.thick + c.gap  # between middle lines: the ink of two curves never meets
        self.pad = math.ceil(c.stroke / 2 + self.clear) + 1
        self.cells = _square(range(-self.pad, self.pad + 1))
        self.ink = np.zeros((count, c.side + 2 * self.pad, c.side + 2 * self.pad))
        self.near = np.full_like(self.ink, np.inf)
        self.alive = np.ones(count, bool)

    def long(self) -> Floats:
        """The two long curves; answers the ends of their strokes (N, 2, 2 paddles, 2)."""
        c, count = self.c, len(self.rows)
        aside = c.apart / 2 * _way(self.dice.uniform(0, 2 * math.pi, count))
        middle = self._anywhere(np.abs(aside))
        tips = [middle - aside, middle + aside]
        headings = [self.dice.uniform(0, 2 * math.pi, count) for _ in tips]
        last: list[tuple[Floats, Floats] | None] = [None, None]
        points: list[list[Floats]] = [[], []]
        for _ in range(c.paddles):
            for i in (0, 1):
                a, b, headings[i], room = self._grow(tips[i], headings[i], last[1 - i])
                self.alive &= room
                self._draw(a, b, last[i], self.alive)
                last[i], tips[i] = (a, b), b
                points[i] += [a, b]
        for stroke in last:
            self._settle(stroke, self.alive)
        return np.stack([np.stack(p, 1) for p in points], 1)

    def keep(self, rows: Ints) -> None:
        """Only these pictures from now on."""
        self.ink, self.near, self.alive = self.ink[rows], self.near[rows], self.alive[rows]
        self.rows = np.arange(len(rows))

    def short(self) -> None:
        """A shorter curve; where there is no room it is shorter still."""
        tip, heading = self._anywhere(), self.dice.uniform(0, 2 * math.pi, len(self.rows))
        going, last = self.alive.copy(), None
        for _ in range(self.c.short):
            a, b, heading, room = self._grow(tip, heading, None)
            going &= room
            self._draw(a, b, last, going)
            last, tip = (a, b), b
        self._settle(last, going)

    def _anywhere(self, inside: Floats | float = 0.0) -> Floats:
        """Places (N, 2) at least `inside` away from where strokes may not be."""
        return self.dice.uniform(EDGE + inside, self.c.side - 1 - EDGE - inside, (len(self.rows), 2))

    def _grow(
        self, tip: Floats, heading: Floats, other: tuple[Floats, Floats] | None
    ) -> tuple[Floats, Floats, Floats, Bools]:
        """One more stroke behind `tip` (N, 2), away from all that is settled and from the stroke `other`.

        Answers its ends, its heading, and where there is room for one.
        """
        angles = heading[:, None] + TURNS  # (N, K)
        a = tip[:, None] + self.c.gap * _way(angles)
        b = a + self.c.stroke * _way(angles)
        weight = np.cos(np.clip(self.c.bend * TURNS, -math.pi / 2, math.pi / 2)) ** 2 + 1e-9
        weight = np.where(self._free(a, b, other), weight, 0).cumsum(-1)
        chosen = (weight > self.dice.random((len(weight), 1)) * weight[:, -1:]).argmax(-1)
        return a[self.rows, chosen], b[self.rows, chosen], angles[self.rows, chosen], weight[:, -1] > 0

    def _free(self, a: Floats, b: Floats, other: tuple[Floats, Floats] | None) -> Bools:
        """Whether strokes from a to b (N, K, 2) lie inside and clear of others: (N, K)."""
        share = np.linspace(0, 1, 2 + int(2 * self.c.stroke))
        points = a[..., None, :] + share[:, None] * (b - a)[..., None, :]  # (N, K, S, 2)
        inside = ((points >= EDGE) & (points <= self.c.side - 1 - EDGE)).all((-1, -2))
        cell = np.clip(np.rint(points).astype(int), 0, self.c.side - 1) + self.pad
        away = self.near[self.rows[:, None, None], cell[..., 0], cell[..., 1]]
        if other is not None:
            away = np.minimum(away, _distance(points, *(end[:, None, None] for end in other)))
        return inside & (away >= self.clear).all(-1)

    def _draw(self, a: Floats, b: Floats, before: tuple[Floats, Floats] | None, at: Bools) -> None:
        """Ink from a to b (N, 2) on the pictures `at`; the stroke before it may not be touched from now on."""
        where, away = self._around(a, b)
        self.ink[where] = np.maximum(
            self.ink[where], np.where(at[:, None], np.clip(0.5 + self.c.thick / 2 - away, 0, 1), 0)
        )
        self._settle(before, at)

    def _settle(self, stroke: tuple[Floats, Floats] | None, at: Bools) -> None:
        if stroke is not None:
            where, away = self._around(*stroke)
            self.near[where] = np.minimum(self.near[where], np.where(at[:, None], away, np.inf))

    def _around(self, a: Floats, b: Floats) -> tuple[tuple[Ints, ...], Floats]:
        """The pixels near a stroke, as an index of (N, cells), and how far each is from it."""
        cell = np.clip(np.rint((a + b) / 2).astype(int), 0, self.c.side - 1)[:, None] + self.cells
        away = _distance(cell, a[:, None], b[:, None])
        return (self.rows[:, None], *np.moveaxis(cell + self.pad, -1, 0)), away


def _square(cells: range) -> Ints:
    """(n^2, 2), row and column of all pixels with both among `cells`."""
    return np.stack(np.meshgrid(cells, cells, indexing="ij"), -1).reshape(-1, 2)


def _way(angle: Floats) -> Floats:
    return np.stack([np.sin(angle), np.cos(angle)], -1)


def _distance(points: Floats, a: Floats, b: Floats) -> Floats:
    """Of points (..., 2) from strokes a to b."""
    (y, x), (dy, dx) = (np.moveaxis(v, -1, 0) for v in (points - a, b - a))  # sums over an axis of two are slow
    along = np.clip((y * dy + x * dx) / np.maximum(dy * dy + dx * dx, 1e-12), 0, 1)
    return np.hypot(y - along * dy, x - along * dx)
