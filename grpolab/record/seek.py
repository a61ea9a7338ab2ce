"""The fold at any place of an indexed run, without folding what lies before it: steps are copied
by the column, rare events are applied, and rollouts are read when somebody looks at them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from grpolab.record import events as ev
from grpolab.record.history import KEPT_STEPS, Samples
from grpolab.record.index import PARTS, LaneLog, RunLog
from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.record.state import KEPT_ROLLOUTS, LabState

LOADED = 8
"""Rollouts out of the file that are held in memory."""

AROUND = 256
"""Steps on either side that are searched for one whose tokens were recorded."""


class Stored(RolloutView):
    """A rollout that is in the run file: it is read when something of it is asked for."""

    def __init__(self, step: int, scored: bool, read: Callable[[Stored], dict[str, Any]]) -> None:
        self.step, self._scored, self._read = step, scored, read

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there."""
        if name not in RolloutView.__dataclass_fields__:
            raise AttributeError(name)
        if name == "tokens" and not self._scored:
            return None
        vars(self).update(self._read(self))
        return vars(self)[name]

    def forget(self) -> None:
        """It can be read again."""
        kept = ("step", "_scored", "_read")
        for name in [name for name in vars(self) if name not in kept]:
            del vars(self)[name]


class Recall:
    """What an indexed run can tell a state about its past; `lines` of it are in that state."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.lines = 0
        self._loaded: list[Stored] = []
        self._step = lru_cache(maxsize=KEPT_STEPS)(log.event)  # finished steps, asked for again

    # --- the fold ---

    def state(self, lines: int) -> LabState:
        """The fold of the first so many events."""
        self.lines = lines
        state, rows = LabState(archive=self), dict[str, tuple[int, int]]()
        for line, t, event in self.log.rare_upto(lines):
            if isinstance(event, ev.Resumed | ev.LaneOpened | ev.PhaseChanged):
                self._catch_up(state, rows, line)
            state.apply(event, t)
        self._catch_up(state, rows, lines)
        phase = self.log.kind.rfind(bytes([self.log.code("phase")]), 0, lines)
        if phase >= 0 and (found := self.log.event(phase)) is not None:
            state.phase = found[1] if isinstance(found[1], ev.PhaseChanged) else state.phase
        for name, lane in self.log.lanes.items():
            if name in state.lanes:
                self._rollouts(state, lane, lines)
        state.time = self.log.due[lines - 1] if lines else 0.0
        state.version = lines
        return state

    def _catch_up(self, state: LabState, rows: dict[str, tuple[int, int]], line: int) -> None:
        """Finished steps and evaluations that stand before a line."""
        for name, lane in self.log.lanes.items():
            step, evaluated = rows.get(name, (0, 0))
            done, known = bisect_left(lane.step_line, line), bisect_left(lane.eval_line, line)
            rows[name] = done, known
            mine = state.lanes.get(name)
            if mine is not None and step < done:
                mine.steps.extend(lane.steps, step, done)
                mine.samples = Samples()
            if mine is not None and evaluated < known:
                self._evaluations(mine, lane, evaluated, known)

    def _evaluations(self, mine: LaneState, lane: LaneLog, start: int, stop: int) -> None:
        """At once: there may be thousands."""
        found = lane.evals[start:stop]
        for at in reversed(lane.evals_again):
            if start < at < stop:
                del found[at - 1 - start]
        if mine.evals and mine.evals[-1].step == found[0].step:
            mine.evals.pop()
        mine.evals += found

    def _rollouts(self, state: LabState, lane: LaneLog, lines: int) -> None:
        """The newest ones. One that is not finished is read at once: more of it will come."""
        kept = state.lanes[lane.steps.lane].rollouts
        found = self.log.rollouts(lane, lines, KEPT_ROLLOUTS)
        for step, entry in found.items():
            kept[step] = self._stored(lane, entry, lines)
        done = bisect_left(lane.step_line, lines)
        step, entry = next(reversed(found.items()), (0, -1))
        if entry >= 0 and (not done or lane.step_line[done - 1] < lane.rollout_line[entry]):
            del kept[step]
            for event in self._events(lane, entry, lines):
                state.apply(event)

    def _stored(self, lane: LaneLog, entry: int, lines: int) -> Stored:
        def read(stored: Stored) -> dict[str, Any]:
            self._loaded = [s for s in self._loaded if s is not stored]
            for old in self._loaded[: 1 - LOADED]:
                old.forget()
            self._loaded = [*self._loaded[1 - LOADED :], stored]
            return self._whole(lane, entry, lines)

        scored = lane.part("tokens", entry, lines) > 0
        return Stored(lane.rollout_step[entry], scored, read)

    def _whole(self, lane: LaneLog, entry: int, lines: int) -> dict[str, Any]:
        """What the fold makes of a rollout's events."""
        name = lane.steps.lane
        state = LabState(lanes={name: LaneState(name, "", "", {})})
        for event in self._events(lane, entry, lines):
            state.apply(event)
        view = state.lanes[name].rollout  # it may be unreadable by now
        return vars(view or RolloutView(lane.rollout_step[entry], "", [], [], 1, 0))

    def _events(self, lane: LaneLog, entry: int, lines: int) -> Iterator[ev.Event]:
        """A rollout's events: what was sampled only where it was not graded yet."""
        log, first = self.log, lane.rollout_line[entry]
        known = sorted(line for kind in PARTS if (line := lane.part(kind, entry, lines)))
        if not lane.part("graded", entry, lines):
            after = lane.rollout_line[entry + 1 : entry + 2]
            stop, code = min([lines, *after]), log.code("sampled")
            known = [n for n in range(first, stop) if log.kind[n] == code] + known
        for line in (first, *known):
            timed = log.event(line)
            if timed is not None and getattr(timed[1], "lane", None) == lane.steps.lane:
                yield timed[1]

    # --- what a state asks for ---

    def done(self, lane: str, step: int) -> ev.StepDone | None:
        """The event of a finished step, as the file has it."""
        found = self.log.lanes.get(lane)
        if found is None:
            return None
        row = self.log.find(found.step, found.step_line, self.lines, step)
        timed = self._step(found.step_line[row]) if row >= 0 else None
        return timed[1] if timed is not None and isinstance(timed[1], ev.StepDone) else None

    def rollout(self, lane: str, step: int, *, ahead: bool = False) -> RolloutView | None:
        """The rollout of a step, to be read when it is looked at. `ahead`: also one that comes
        later than what is in the state."""
        found, lines = self.log.lanes.get(lane), self.log.lines if ahead else self.lines
        if found is None:
            return None
        entry = self.log.find(found.rollout_step, found.rollout_line, lines, step)
        return self._stored(found, entry, lines) if entry >= 0 else None

    def recorded(self, lane: str, step: int) -> int | None:
        """The step nearest to one, among `AROUND` on either side, whose tokens are in the file; of
        two the older."""
        found = self.log.lanes.get(lane)
        if found is None:
            return None
        for by in range(AROUND):
            for near in (step - by, step + by):
                entry = self.log.find(found.rollout_step, found.rollout_line, self.lines, near)
                if entry >= 0 and found.part("tokens", entry, self.lines):
                    return near
        return None

    def answers(self, lane: str, step: int) -> RolloutView | None:
        """A step's answers alone, be they later than what is in the state: its tokens are not
        read, nothing is kept, and it may be called from any thread."""
        found, lines = self.log.lanes.get(lane), self.log.lines
        if found is None:
            return None
        entry = self.log.find(found.rollout_step, found.rollout_line, lines, step)
        graded = found.part("graded", entry, lines) if entry >= 0 else 0
        if not graded:
            return None
        begun, *more = self.log.event(found.rollout_line[entry]), self.log.event(graded)
        if begun is None or not isinstance(begun[1], ev.RolloutStarted):
            return None
        return RolloutView.of(begun[1], *(timed[1] for timed in more if timed is not None))
