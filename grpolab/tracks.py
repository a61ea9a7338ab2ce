"""A lane's numbers as curves: any metric over steps, updates, samples, tokens or time, smoothed or
not. Kept up to date step by step, so that a long run is read once."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any

from grpolab.events import METRICS, Evaluated, StepDone
from grpolab.state import LabState, LaneState

AXES = ("step", "update", "sample", "token", "time")
AXIS_WORDS = {
    "step": "steps", "update": "optimizer steps", "sample": "answers sampled",
    "token": "tokens sampled", "time": "seconds of work",
}  # fmt: skip
SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
"""Weights of the past in an exponential mean; 0 shows what was measured."""

EVALS: dict[str, tuple[str, Callable[[Evaluated], float]]] = {
    "held-out accuracy": (
        "share of right answers to prompts that training never draws, sampled",
        lambda e: e.accuracy,
    ),
    "held-out greedy": ("the same, always the likeliest token", lambda e: e.greedy_accuracy),
    "held-out reward": ("mean reward on these prompts", lambda e: e.reward),
    "held-out length": ("mean length of these answers in tokens", lambda e: e.length),
}
STEPS: dict[str, tuple[str, Callable[[StepDone], float]]] = {
    "step seconds": ("time of a step: rollout, scoring, update", lambda s: sum(s.seconds.values())),
    "step tokens": ("answer tokens sampled in a step", lambda s: float(s.tokens)),
    "step memory": ("bytes in use at the step's peak", lambda s: float(sum(s.memory.values()))),
}
"""Curves beside the metrics, each with its hint."""

HINTS = METRICS | {k: hint for k, (hint, _) in (*EVALS.items(), *STEPS.items())}


@dataclass
class Points:
    """Finite values of one metric. `at`: which of the lane's steps each belongs to."""

    at: array[int] = field(default_factory=lambda: array("l"))
    y: array[float] = field(default_factory=lambda: array("d"))
    broken: array[int] = field(default_factory=lambda: array("l"))  # where it was not finite


@dataclass(frozen=True)
class Curve:
    """One metric of one lane, in the order of x."""

    x: array[float]
    y: array[float]
    smooth: array[float]  # y itself where nothing is smoothed
    broken: int  # values that are not finite


EMPTY = Curve(array("d"), array("d"), array("d"), 0)


class Tracks:
    """All curves of one lane."""

    def __init__(self, state: LabState, lane: LaneState) -> None:
        self.state, self.lane = state, lane
        self._forget()

    def _forget(self) -> None:
        self.seen = 0
        self._last: Any = None
        self.steps: array[int] = array("l")
        self.points: dict[str, Points] = {}
        self._axes: dict[str, array[float]] = {a: array("d") for a in AXES}
        self._smooth: dict[tuple[str, float], tuple[array[float], float, float]] = {}
        self._x: dict[tuple[str, str], array[float]] = {}

    def refresh(self) -> None:
        """Take in what was finished since the last time; after a resume, all of it again."""
        steps = self.lane.steps
        if len(steps) < self.seen or (self.seen and _mark(steps[self.seen - 1]) != self._last):
            self._forget()
        for i in range(self.seen, len(steps)):
            done = steps[i]
            self.steps.append(done.step)
            for name, value in done.metrics.items():
                self._add(name, i, value)
            for name, (_, of) in STEPS.items():
                self._add(name, i, of(done))
            for axis, by in self._advance(done).items():
                xs = self._axes[axis]
                xs.append(by if axis == "step" else by + (xs[-1] if xs else 0.0))
            self.seen = i + 1
        self._last = _mark(steps[self.seen - 1]) if self.seen else None

    def _advance(self, s: StepDone) -> dict[str, float]:
        """How far a step goes along each axis; of the step itself, where it is."""
        prompts, group = self._shape(s.step)
        answers = (prompts + s.metrics.get("groups_replaced", 0.0)) * group
        return {
            "step": float(s.step), "update": float(s.updates), "sample": answers,
            "token": float(s.tokens), "time": sum(s.seconds.values()),
        }  # fmt: skip

    def _shape(self, step: int) -> tuple[float, float]:
        """Prompts and answers to each, as they were set in a step."""
        section = self.state.run.scenario.get("rollout") if self.state.run else None
        known = dict(section) if isinstance(section, dict) else {}
        for change in self.lane.changes:
            if change.step < step and change.key.startswith("rollout."):
                known[change.key.removeprefix("rollout.")] = change.after
        return float(known.get("prompts") or 0), float(known.get("group_size") or 0)

    def _add(self, name: str, at: int, value: float) -> None:
        points = self.points.get(name)
        if points is None:
            points = self.points[name] = Points()
        if math.isfinite(value):
            points.at.append(at)
            points.y.append(value)
        else:
            points.broken.append(at)

    def names(self) -> list[str]:
        """Everything that was recorded: evaluations first, then metrics in their usual order."""
        evals = list(EVALS) if self.lane.evals else []
        known = [n for n in HINTS if n in self.points]
        return [*evals, *known, *(n for n in self.points if n not in HINTS)]

    def curve(self, name: str, axis: str = "step", smooth: float = 0.0) -> Curve:
        """A metric against an axis; empty where it was never measured."""
        if name in EVALS:
            return self._evaluations(name, axis, smooth)
        points = self.points.get(name)
        if points is None:
            return EMPTY
        return Curve(
            self._along(name, axis, points), points.y, self._smoothed(name, points.y, smooth),
            len(points.broken),
        )  # fmt: skip

    def _along(self, name: str, axis: str, points: Points) -> array[float]:
        xs = self._axes[axis]
        if len(points.at) == len(xs):
            return xs
        known = self._x.setdefault((name, axis), array("d"))
        known.extend(xs[i] for i in points.at[len(known) :])
        return known

    def _smoothed(self, name: str, y: array[float], weight: float) -> array[float]:
        """The exponential mean, without the pull to 0 that its start would have."""
        if not weight:
            return y
        out, mean, left = self._smooth.get((name, weight), (array("d"), 0.0, 1.0))
        for value in y[len(out) :]:
            mean = weight * mean + (1 - weight) * value
            left *= weight
            out.append(mean / (1 - left))
        self._smooth[name, weight] = out, mean, left
        return out

    def _evaluations(self, name: str, axis: str, weight: float) -> Curve:
        of = EVALS[name][1]
        known = [(self.at(e.step, axis), of(e)) for e in self.lane.evals]
        kept = [(x, y) for x, y in known if math.isfinite(y)]
        x, y = array("d", (a for a, _ in kept)), array("d", (b for _, b in kept))
        lefts = accumulate((weight for _ in y), lambda a, b: a * b)
        means = accumulate(y, lambda m, v: weight * m + (1 - weight) * v, initial=0.0)
        smooth = y
        if weight:
            smooth = array("d", (m / (1 - p) for m, p in zip(list(means)[1:], lefts, strict=True)))
        return Curve(x, y, smooth, len(known) - len(kept))

    def at(self, step: int, axis: str) -> float:
        """Where a step's end lies on an axis; before the first step, at its beginning."""
        i = bisect_right(self.steps, step) - 1
        if axis == "step":
            return float(step)
        return self._axes[axis][i] if i >= 0 else 0.0

    def step_at(self, x: float, axis: str) -> int | None:
        """The newest step that was finished there."""
        i = bisect_right(self._axes[axis], x) - 1
        return self.steps[i] if i >= 0 else None

    def span(self, axis: str) -> tuple[float, float]:
        """From where to where the lane goes on an axis."""
        xs = self._axes[axis]
        first = self.at(self.lane.evals[0].step, axis) if self.lane.evals else math.inf
        if not xs:
            return (0.0, 1.0) if math.isinf(first) else (first, first + 1)
        return min(first, xs[0]), max(xs[-1], xs[0])


def _mark(s: StepDone) -> tuple[int, str, str]:
    """By what a step is known again; after a resume another one may have its number."""
    return s.step, s.digest, repr(s.metrics)


def within(x: array[float], limits: tuple[float, float]) -> slice:
    """The points in sight, and one beyond on either side."""
    a, b = bisect_left(x, limits[0]), bisect_right(x, limits[1])
    return slice(max(0, a - 1), min(len(x), b + 1))


def thin(x: array[float], y: array[float], columns: int) -> tuple[list[float], list[float]]:
    """At most two points a column, each column's lowest and highest, in their order. All values
    are finite."""
    n = len(y)
    if n <= 2 * columns or columns < 1:
        return x.tolist(), y.tolist()
    xs: list[float] = []
    ys: list[float] = []
    for c in range(columns):
        start = n * c // columns
        part = y[start : n * (c + 1) // columns]
        low, high = min(part), max(part)
        i, j = part.index(low), part.index(high)
        first, second = ((i, low), (j, high)) if i < j else ((j, high), (i, low))
        xs.append(x[start + first[0]])
        ys.append(first[1])
        if i != j:
            xs.append(x[start + second[0]])
            ys.append(second[1])
    return xs, ys


def squeeze(
    x: array[float], mean: array[float], low: array[float], high: array[float], columns: int
) -> tuple[list[float], list[float], list[float], list[float]]:
    """A band in at most one point a column: mean of the means, lowest low, highest high."""
    n = len(x)
    cuts = [n * c // columns for c in range(columns + 1)] if n > columns > 0 else [*range(n + 1)]
    parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
    return (
        [x[(p.start + p.stop) // 2] for p in parts], [fmean(mean[p]) for p in parts],
        [min(low[p]) for p in parts], [max(high[p]) for p in parts],
    )  # fmt: skip
