"""Errors and warnings about a run, from its numbers alone: each with its cause, the evidence, and
up to two suggestions. Pure functions over the state.

The rules, with title and cause of what they find, are in `health_rules`; settings to try, in
`health_suggestions`; when a finding is shown is decided here: once it has held for COMES steps in a
row, and until it has not held for GOES steps, so a number near its threshold does not flicker. This
is decided by looking back from a step, so it depends only on the steps up to there.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from grpolab.analysis.health_rules import RULES, Evidence, Finding, Level
from grpolab.analysis.health_suggestions import Try, choose, values
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

LEVELS: tuple[Level, ...] = ("bad", "warn", "note")
SIGNS: dict[str, str] = {"bad": "✗", "warn": "!", "note": "i"}
"""A verdict's level as a sign that needs no color."""

WORDS: dict[str, str] = {"bad": "error", "warn": "warning", "note": "note"}
"""A verdict's level in words."""

JSON_NAMES = {
    "test accuracy": "held-out accuracy",
    "test accuracy best": "held-out best",
    "test accuracy now": "held-out now",
    "last increase": "its last rise",
    "increase before": "the rise before",
    "mean difference in nats": "mean gap in nats",
}
"""Names of metrics and evidence that scripts know by a former wording: JSON keeps that."""

COMES = 3
"""Steps in a row in which a rule must hold before it is reported."""

GOES = 8
"""Steps in a row in which it must not hold before it is withdrawn."""

BACK = 64
"""Steps to look back for either."""

Found = tuple[Finding | None, ...]
"""What each rule finds at one step."""

_NOTHING: Found = (None,) * len(RULES)
KEPT = 16 * BACK
"""Judged steps that are cached for all lanes of a run together."""

_cache: WeakKeyDictionary[object, dict[object, Found]] = WeakKeyDictionary()
"""Judged steps, by the lane's columns or, where these are rebuilt for every place of a recorded
run, by its archive."""


@dataclass(frozen=True)
class Verdict:
    """A finding about one lane as of `step`. Level `note` is worth knowing, but no problem."""

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
            "title": self.title, "cause": self.cause,
            "metric": JSON_NAMES.get(self.metric, self.metric),
            "evidence": {JSON_NAMES.get(k, k): _plain(v) for k, v in self.evidence},
            "try": [{"key": t.key, "now": t.now, "value": t.value, "why": t.why, "live": t.live}
                    for t in self.tries],
        }  # fmt: skip


def verdicts(state: LabState, lane: LaneState, at: int | None = None) -> list[Verdict]:
    """The verdicts on a lane after step `at` (None: its newest), the worst first. They follow from
    the steps up to there, so a past step is judged as it was when it was new."""
    last = lane.last if at is None else lane.steps.upto(at)
    if last is None:
        return []
    now = values(state, lane)
    made = [
        Verdict(
            name=f.name,
            level=f.level,
            lane=lane.name,
            step=step,
            title=f.title,
            cause=f.cause,
            metric=f.metric,
            evidence=f.evidence,
            tries=choose(f.candidates, now),
        )
        for step, f in lasting(state, lane, last.step)
    ]
    return sorted(made, key=lambda v: LEVELS.index(v.level))


def of_run(state: LabState) -> list[Verdict]:
    """The verdicts on all lanes, the worst first."""
    found = [v for lane in state.lanes.values() for v in verdicts(state, lane)]
    return sorted(found, key=lambda v: LEVELS.index(v.level))


def wrong(found: Iterable[Verdict]) -> list[Verdict]:
    """Errors and warnings, without notes."""
    return [v for v in found if v.level != "note"]


def in_words(evidence: Iterable[tuple[str, float]]) -> str:
    """Evidence in one line: names and numbers."""
    return ", ".join(f"{name} {_short(value)}" for name, value in evidence)


def _short(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def lasting(state: LabState, lane: LaneState, at: int) -> list[tuple[int, Finding]]:
    """The findings that hold for a lane after its step `at`, each with the step in which it was
    last found."""
    steps = lane.axis("step")
    end = bisect_right(steps, at)
    past: list[tuple[int, Found]] = []
    rows = iter(range(end - 1, max(-1, end - 1 - BACK), -1))

    def back() -> Iterator[tuple[int, Found]]:
        """The steps, newest first; each is judged once, when it is first needed."""
        i = 0
        while True:
            if i == len(past):
                row = next(rows, None)
                if row is None:
                    return
                past.append((steps[row], _judged(state, lane, row)))
            yield past[i]
            i += 1

    switched = max((s.step for s in lane.switches if s.step < at), default=0)
    out = []
    for which in range(len(RULES)):
        level: Level | None = next((x for x in LEVELS if _holds(back(), which, x)), None)
        if level is None:
            continue
        step, found = next(_at_least(back(), which, level, exactly=True), None) or next(
            _at_least(back(), which, level)
        )
        if step > switched:  # else it is about another algorithm
            out.append((step, replace(found, level=level)))
    return out


def _holds(back: Iterator[tuple[int, Found]], which: int, level: Level) -> bool:
    """Whether a finding of this level or worse has held for long enough and not ended since."""
    count = missed = 0
    for _, found in back:
        f = found[which]
        if _grave(f, level):
            count, missed = count + 1, 0
        else:
            count, missed = 0, missed + 1
        if count and (count == COMES or (f is not None and f.sure)):
            return True
        if missed == GOES:
            return False
    return False


def _at_least(
    back: Iterator[tuple[int, Found]], which: int, level: Level, *, exactly: bool = False
) -> Iterator[tuple[int, Finding]]:
    """The findings of a rule of this level or worse (`exactly`: of this level), newest first."""
    for step, found in back:
        f = found[which]
        if f is not None and (f.level == level if exactly else _grave(f, level)):
            yield step, f


def _grave(found: Finding | None, level: Level) -> bool:
    return found is not None and LEVELS.index(found.level) <= LEVELS.index(level)


def _judged(state: LabState, lane: LaneState, row: int) -> Found:
    """What each rule finds at the step of a row, cached: the next step looks back on it again. Its
    time and the number of rewinds tell it from an earlier step of the same number."""
    step, known = lane.axis("step")[row], _cache.setdefault(lane.archive or lane.steps, {})
    key = (
        lane.name,
        step,
        lane.axis("time")[row],
        len(state.rewinds),
        bisect_right(lane.evals, step, key=attrgetter("step")),
        sum(s.step < step for s in lane.switches),
        sum(c.step < step for c in lane.changes),
    )
    if key not in known:
        evidence = Evidence(state, lane, step)
        found = tuple(rule(evidence) for rule in RULES)
        known[key] = found if any(found) else _NOTHING
        while len(known) > KEPT:
            del known[next(iter(known))]
    return known[key]
