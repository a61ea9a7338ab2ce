"""What goes wrong in a run, from its numbers alone: each verdict with its cause, the evidence, and
two settings to try. Pure functions over the state; the rules are in `health_rules`, and for how
long one must hold before it is said in `health_lasting`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from grpolab.health_tries import Candidate, Try, choose, values
from grpolab.lane_state import LaneState
from grpolab.state import LabState

WINDOW = 300
"""Steps that are looked back on; the first few are looked at besides."""

FIRST = 3

Level = Literal["bad", "warn", "note"]
LEVELS: tuple[Level, ...] = ("bad", "warn", "note")
SIGNS: dict[str, str] = {"bad": "✗", "warn": "!", "note": "i"}
"""A verdict's level as a sign that needs no colour."""


@dataclass(frozen=True)
class Finding:
    """What a rule found: before it is known which settings the lane has."""

    name: str
    level: Level
    title: str
    cause: str
    metric: str  # the curve that shows it
    evidence: tuple[tuple[str, float], ...]
    candidates: tuple[Candidate, ...]
    sure: bool = False  # said at once: it is not drawn from numbers that waver from step to step


@dataclass(frozen=True)
class Verdict:
    """Something to look at on one lane, as it was last seen, at `step`. note: worth knowing,
    nothing is wrong."""

    name: str
    level: Level
    lane: str
    step: int
    title: str
    cause: str
    metric: str
    evidence: tuple[tuple[str, float], ...]
    tries: tuple[Try, ...]

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name, "level": self.level, "lane": self.lane, "step": self.step,
            "title": self.title, "cause": self.cause, "metric": self.metric,
            "evidence": {k: _plain(v) for k, v in self.evidence},
            "try": [{"key": t.key, "now": t.now, "value": t.value, "why": t.why, "live": t.live}
                    for t in self.tries],
        }  # fmt: skip


class Record:
    """What the rules may look at: a lane's steps up to one of them."""

    def __init__(self, state: LabState, lane: LaneState, at: int | None = None) -> None:
        self.state, self.lane = state, lane
        self.last = lane.last if at is None else lane.steps.upto(at)
        self.step = self.last.step if self.last else 0
        self.metrics = self.last.metrics if self.last else {}
        self.evals = [e for e in lane.evals if e.step <= self.step]
        self.algorithm, _, self.settings = lane.in_force(self.step)
        self.switched = max((s.step for s in lane.switches if s.step < self.step), default=0)
        task = [
            c.step
            for c in lane.changes
            if c.key.startswith(("task.", "rewards.")) and c.step < self.step
        ]
        self.task_changed = max(task, default=0)

    @cached_property
    def known(self) -> dict[str, Any]:
        """Every setting that the step was computed with."""
        return values(self.state, self.lane, self.step)

    def raw(self, metric: str, after: int = 0) -> Sequence[float]:
        """What the newest steps after one of them measured, be it no number; the newest last."""
        return self.lane.steps.between(metric, max(after, self.step - WINDOW), self.step)

    def series(self, metric: str, after: int = 0) -> list[float]:
        """The same without what is not finite."""
        return [x for x in self.raw(metric, after) if math.isfinite(x)]

    def recent(self, metric: str, count: int = 5, least: int = 3, after: int = 0) -> float | None:
        """Mean of the newest few values; None where there are fewer than `least`."""
        found = self.series(metric, after)[-count:]
        return fmean(found) if len(found) >= least else None

    def early(self, metric: str) -> float | None:
        """Mean over the first steps that measured it."""
        found = self.lane.steps.between(metric, -1, self.step, FIRST)
        first = [x for x in found if math.isfinite(x)]
        return fmean(first) if first else None


def verdicts(state: LabState, lane: LaneState, at: int | None = None) -> list[Verdict]:
    """What is to be said of a lane after step `at` (None: its newest), the worst first. It follows
    from the steps up to there, so a step of the past is judged as it was when it was new."""
    from grpolab.health_lasting import lasting

    last = lane.last if at is None else lane.steps.upto(at)
    if last is None:
        return []
    now = values(state, lane)
    made = [
        Verdict(
            f.name, f.level, lane.name, step, f.title, f.cause, f.metric, f.evidence,
            choose(f.candidates, now),
        )
        for step, f in lasting(state, lane, last.step)
    ]  # fmt: skip
    return sorted(made, key=lambda v: LEVELS.index(v.level))


def of_run(state: LabState) -> list[Verdict]:
    """The same over all lanes."""
    found = [v for lane in state.lanes.values() for v in verdicts(state, lane)]
    return sorted(found, key=lambda v: LEVELS.index(v.level))


def wrong(found: Iterable[Verdict]) -> list[Verdict]:
    """Without what is merely worth knowing."""
    return [v for v in found if v.level != "note"]


def told(evidence: Iterable[tuple[str, float]]) -> str:
    """Evidence in one line of plain numbers."""
    return ", ".join(f"{name} {_short(value)}" for name, value in evidence)


def _short(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)
