"""What goes wrong in a run, from its numbers alone: each verdict with its cause, the evidence, and
two settings to try. Pure functions over the state; the rules are in `health_rules`, and for how
long one must hold before it is said in `health_lasting`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any
from weakref import WeakKeyDictionary

from grpolab.analysis.health_rules import RULES, Finding, Level, Record
from grpolab.analysis.health_suggestions import Try, choose, values
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

LEVELS: tuple[Level, ...] = ("bad", "warn", "note")
SIGNS: dict[str, str] = {"bad": "✗", "warn": "!", "note": "i"}
"""A verdict's level as a sign that needs no colour."""


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


def verdicts(state: LabState, lane: LaneState, at: int | None = None) -> list[Verdict]:
    """What is to be said of a lane after step `at` (None: its newest), the worst first. It follows
    from the steps up to there, so a step of the past is judged as it was when it was new."""

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


# --- health_lasting ---
# Which findings of the rules last: one is said when it has held for some steps in a row, and
# until it has not held for some more. So a number that hovers about its threshold does not
# flicker. It is told by looking back from a step, so it depends on the steps up to there and on
# nothing else.

COMES = 3
"""Steps in a row in which a rule must hold before it is said."""

GOES = 8
"""Steps in a row in which it must not hold before it is said no more."""

BACK = 64
"""Steps that are looked back on for either."""

Found = tuple[Finding | None, ...]
"""What each rule finds at one step."""

_NOTHING: Found = (None,) * len(RULES)
KEPT = 16 * BACK
"""Judged steps that are kept, of all lanes of a run together."""

_seen: WeakKeyDictionary[object, dict[object, Found]] = WeakKeyDictionary()
"""Steps that were judged, by the lane's columns or, where these are made anew for every place of a
recorded run, by its archive."""


def lasting(state: LabState, lane: LaneState, at: int) -> list[tuple[int, Finding]]:
    """What is to be said of a lane after its step `at`, each with the step that it was last seen
    in."""
    steps = lane.axis("step")
    end = bisect_right(steps, at)
    past: list[tuple[int, Found]] = []
    rows = iter(range(end - 1, max(-1, end - 1 - BACK), -1))

    def back() -> Iterator[tuple[int, Found]]:
        """The steps from the newest on; each is judged once, when it is first asked for."""
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
        said: list[Level] = [level for level in LEVELS if _on(back(), which, level)]
        if not said:
            continue
        level = said[0]
        step, found = next(_at_least(back(), which, level, exactly=True), None) or next(
            _at_least(back(), which, level)
        )
        if step > switched:  # else it was said of another algorithm
            out.append((step, replace(found, level=level)))
    return out


def _on(back: Iterator[tuple[int, Found]], which: int, level: Level) -> bool:
    """Whether a finding at least so grave has come and not gone since."""
    held = missed = 0
    for _, found in back:
        f = found[which]
        if _grave(f, level):
            held, missed = held + 1, 0
        else:
            held, missed = 0, missed + 1
        if held and (held == COMES or (f is not None and f.sure)):
            return True
        if missed == GOES:
            return False
    return False


def _at_least(
    back: Iterator[tuple[int, Found]], which: int, level: Level, *, exactly: bool = False
) -> Iterator[tuple[int, Finding]]:
    """The findings of a rule that are so grave, the newest first."""
    for step, found in back:
        f = found[which]
        if f is not None and (f.level == level if exactly else _grave(f, level)):
            yield step, f


def _grave(found: Finding | None, level: Level) -> bool:
    return found is not None and LEVELS.index(found.level) <= LEVELS.index(level)


def _judged(state: LabState, lane: LaneState, row: int) -> Found:
    """What each rule finds at the step of a row. Kept: the next step looks back on it again. When
    it was made, and after how many rewinds, tells it from one of the same number before."""
    step, known = lane.axis("step")[row], _seen.setdefault(lane.archive or lane.steps, {})
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
        record = Record(state, lane, step)
        found = tuple(rule(record) for rule in RULES)
        known[key] = found if any(found) else _NOTHING
        while len(known) > KEPT:
            del known[next(iter(known))]
    return known[key]
