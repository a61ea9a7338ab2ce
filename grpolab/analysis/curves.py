"""A lane's numbers as curves: any metric over steps, updates, samples, tokens or time, smoothed or
not. Updated step by step, so that a long run is read once.

`Tracks` has all curves of a lane; `groups` and `band` combine lanes that are seeds of one
configuration; `within`, `thin` and `squeeze` reduce the points to what a chart can show.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any

from grpolab.analysis.metric_help import METRICS
from grpolab.record.columns import Column
from grpolab.record.events import Evaluated
from grpolab.record.history import Axis
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

STEPS = {
    "step seconds": "time of a step: rollout, scoring, update",
    "step tokens": "answer tokens sampled in a step",
    "step memory": "bytes in use at the step's peak",
}
"""Curves besides the metrics, each with its meaning."""

AXIS_WORDS = {
    "step": "steps", "update": "optimizer steps", "sample": "answers sampled",
    "token": "tokens sampled", "time": "seconds of work",
}  # fmt: skip
SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
"""Weights of the past in an exponential moving average; 0: no smoothing."""

EVALS: dict[str, tuple[str, Callable[[Evaluated], float]]] = {
    "test accuracy": (
        "share of right answers to prompts that are never trained on, sampled as in the rollout",
        lambda e: e.accuracy,
    ),
    "test greedy accuracy": ("the same with greedy decoding", lambda e: e.greedy_accuracy),
    "test reward": ("mean reward on these prompts, sampled", lambda e: e.reward),
    "test length": ("mean length of these answers in tokens", lambda e: e.length),
}
"""Curves of the test prompts, each with its meaning and how to read it from an evaluation."""

HINTS = METRICS | {k: hint for k, (hint, _) in EVALS.items()} | STEPS


@dataclass
class Points:
    """Finite values of one metric along one axis, as far as they have been read."""

    x: array[float] = field(default_factory=lambda: array("d"))
    y: array[float] = field(default_factory=lambda: array("d"))
    taken: int = 0  # measurements read
    broken: int = 0  # of these, not finite
    means: dict[float, tuple[array[float], float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One metric of one lane, in the order of x."""

    x: array[float]
    y: array[float]
    smooth: array[float]  # y itself where nothing is smoothed
    broken: int  # values that are not finite


EMPTY = Curve(array("d"), array("d"), array("d"), 0)


class Columns:
    """A lane's numbers by step. `generation` changes when some were removed, as by a resume."""

    def __init__(self, state: LabState, lane: LaneState) -> None:
        self.lane = lane
        self.generation = 0
        self._known: object = None

    def refresh(self) -> None:
        """Notice whether steps were removed."""
        now = self.lane.axis("step")  # a new array once they are
        if now is not self._known:
            self.generation += 1
            self._known = now

    def __len__(self) -> int:
        return len(self.lane.steps)

    def names(self) -> list[str]:
        """Everything that at least one step measured."""
        return [*self.lane.steps.metrics, *(STEPS if len(self) else ())]

    def axis(self, name: Axis) -> array[Any]:
        """Each step's place on an axis. Do not change it."""
        return self.lane.axis(name)

    def count(self, name: str) -> int:
        """How many steps measured it."""
        if name in STEPS:
            return len(self)
        column = self.lane.steps.metrics.get(name)
        return len(column) if column is not None else 0

    def series(self, name: str, axis: Axis, start: int = 0) -> tuple[list[float], list[float]]:
        """x and values of the measurements from the `start`-th on, NaN included."""
        steps = self.lane.steps
        if name in STEPS:
            return self.axis(axis)[start:].tolist(), self._of(name, start).tolist()
        column = steps.metrics[name]
        return steps.places(column, axis, start).tolist(), column.part(start).tolist()

    def _of(self, name: str, start: int) -> array[float]:
        steps = self.lane.steps
        columns = {
            "step seconds": steps.seconds, "step memory": steps.memory,
            "step tokens": {"token": steps.counts["token"]},
        }  # fmt: skip
        return totals(columns[name], start, len(self))


def totals(columns: dict[str, Column], start: int, stop: int) -> array[float]:
    """The sum of all columns in each of these rows."""
    found = array("d", bytes(8 * max(0, stop - start)))
    for column in list(columns.values()):
        a, b = bisect_left(column.rows, start), bisect_left(column.rows, stop)
        for row, value in zip(column.rows[a:b], column.part(a, b), strict=True):
            found[row - start] += value
    return found


class Tracks:
    """All curves of one lane."""

    def __init__(self, state: LabState, lane: LaneState) -> None:
        self.lane, self.columns = lane, Columns(state, lane)
        self._points: dict[tuple[str, str], Points] = {}
        self._generation = self.columns.generation

    def refresh(self) -> None:
        """Notice steps that were removed; new ones are read when a curve is asked for."""
        self.columns.refresh()
        if self.columns.generation != self._generation:
            self._generation = self.columns.generation
            self._points.clear()

    def __len__(self) -> int:
        return len(self.columns)

    def names(self) -> list[str]:
        """Everything that was recorded: evaluations first, then metrics in their usual order."""
        evals, found = list(EVALS) if self.lane.evals else [], self.columns.names()
        return [*evals, *(n for n in HINTS if n in found), *(n for n in found if n not in HINTS)]

    def curve(self, name: str, axis: Axis = "step", smooth: float = 0.0) -> Curve:
        """A metric against an axis; empty where it was never measured."""
        if name in EVALS:
            return self._evaluations(name, axis, smooth)
        if not self.columns.count(name):
            return EMPTY
        p = self._points.setdefault((name, axis), Points())
        if p.taken < self.columns.count(name):
            for x, y in zip(*self.columns.series(name, axis, p.taken), strict=True):
                p.taken += 1
                if math.isfinite(y):
                    p.x.append(x)
                    p.y.append(y)
                else:
                    p.broken += 1
        return Curve(p.x, p.y, _smoothed(p, smooth), p.broken)

    def _evaluations(self, name: str, axis: Axis, weight: float) -> Curve:
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

    def at(self, step: int, axis: Axis) -> float:
        """Where the end of a step is on an axis; before the first step, at the axis' start."""
        i = bisect_right(self.columns.axis("step"), step) - 1
        if axis == "step":
            return float(step)
        return self.columns.axis(axis)[i] if i >= 0 else 0.0

    def step_at(self, x: float, axis: Axis) -> int | None:
        """The newest step that was finished at x."""
        i = bisect_right(self.columns.axis(axis), x) - 1
        return int(self.columns.axis("step")[i]) if i >= 0 else None

    def next_step(self, step: int | None, by: int) -> int | None:
        """The step that is `by` places after another."""
        steps = self.columns.axis("step")
        i = bisect_right(steps, -1 if step is None else step) - 1 + by
        return int(steps[min(max(0, i), len(steps) - 1)]) if len(steps) else None

    def span(self, axis: Axis) -> tuple[float, float]:
        """Smallest and largest x of the lane on an axis."""
        xs = self.columns.axis(axis)
        first = self.at(self.lane.evals[0].step, axis) if self.lane.evals else math.inf
        if not len(xs):
            return (0.0, 1.0) if math.isinf(first) else (first, first + 1)
        return min(first, xs[0]), max(xs[-1], xs[0])


def _smoothed(p: Points, weight: float) -> array[float]:
    """The exponential moving average, with bias correction at its start."""
    if not weight:
        return p.y
    out, mean, left = p.means.get(weight, (array("d"), 0.0, 1.0))
    for value in p.y[len(out) :]:
        mean = weight * mean + (1 - weight) * value
        left *= weight
        out.append(mean / (1 - left))
    p.means[weight] = out, mean, left
    return out


def within(x: array[float], limits: tuple[float, float]) -> slice:
    """The points within the limits, and one more on either side."""
    a, b = bisect_left(x, limits[0]), bisect_right(x, limits[1])
    return slice(max(0, a - 1), min(len(x), b + 1))


def thin(x: array[float], y: array[float], columns: int) -> tuple[list[float], list[float]]:
    """At most two points per column: its lowest and its highest, in their order. All values are
    finite."""
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
    """A band in at most one point per column: mean of the means, lowest low, highest high."""
    n = len(x)
    cuts = [n * c // columns for c in range(columns + 1)] if n > columns > 0 else [*range(n + 1)]
    parts = [slice(a, b) for a, b in pairwise(cuts) if b > a]
    return (
        [x[(p.start + p.stop) // 2] for p in parts], [fmean(mean[p]) for p in parts],
        [min(low[p]) for p in parts], [max(high[p]) for p in parts],
    )  # fmt: skip


_SEED = re.compile(r"[-_ ./]?(?:seed|s)?[-_ =]?\d+$", re.IGNORECASE)
"""The end of a lane's name that says which seed it is."""


@dataclass(frozen=True)
class Group:
    """The lanes of one configuration, perhaps only one."""

    name: str
    lanes: tuple[str, ...]

    @property
    def several(self) -> bool:
        return len(self.lanes) > 1


@dataclass(frozen=True)
class Band:
    """Mean, lowest and highest over the seeds, where all of them were measured."""

    x: array[float]
    mean: array[float]
    low: array[float]
    high: array[float]


def groups(lanes: Sequence[LaneState]) -> list[Group]:
    """The lanes by configuration, in their order: those with the same algorithm and settings whose
    names differ only by a number at the end are its seeds.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for lane in lanes:
        stem = _SEED.sub("", lane.name)
        started = repr(lane.history[0][1:])  # algorithm, preset and settings
        key = (stem, started) if stem and stem != lane.name else (lane.name, "")
        found.setdefault(key, []).append(lane.name)
    return [
        Group(stem if len(names) > 1 else names[0], tuple(names))
        for (stem, _), names in found.items()
    ]


def places(lanes: Sequence[LaneState]) -> dict[str, int]:
    """By lane, the place of its configuration among all; of its own where all lanes are seeds of
    one configuration. It chooses a lane's color and glyph."""
    found = groups([lane for lane in lanes if not lane.parent])
    of = {name: group for group in found for name in group.lanes}
    if len(found) < 2:
        of = {}
    out: dict[str, int] = {}
    known: dict[object, int] = {}
    for lane in lanes:
        out[lane.name] = known.setdefault(of.get(lane.name, lane.name), len(known))
    return out


def band(curves: Sequence[Curve]) -> Band:
    """The curves as one. Seeds of one configuration measure at the same steps, so their i-th points
    belong together; points that only some have yet are dropped."""
    n = min((len(c.x) for c in curves), default=0)
    out = Band(array("d"), array("d"), array("d"), array("d"))
    count = len(curves)
    for i in range(n):
        ys = [c.smooth[i] for c in curves]
        out.x.append(sum(c.x[i] for c in curves) / count)
        out.mean.append(sum(ys) / count)
        out.low.append(min(ys))
        out.high.append(max(ys))
    return out
