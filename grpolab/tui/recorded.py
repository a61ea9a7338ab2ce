"""Which tokens can be shown where they are recorded only now and then, and how that is said."""

from __future__ import annotations

from dataclasses import dataclass

from grpolab.lane_state import LaneState
from grpolab.state import LabState
from grpolab.tui.desk import Desk
from grpolab.tui.palette import Palette
from grpolab.tui.text import Line, wrap


@dataclass(frozen=True)
class Lag:
    """The view is at a finished step whose tokens are not recorded."""

    looked: int  # that step
    shown: int | None  # the step of the tokens that stand in its place, if any do
    every: int  # steps from one recorded step to the next; 0: none is recorded
    nearest: int | None  # the nearest step whose tokens are recorded


def lag(desk: Desk) -> Lag | None:
    """None where the tokens that are shown are those of the step that is looked at, or of the
    newest that is finished."""
    view, state = desk.view, desk.state
    lane = view.lane_state(state)
    if lane is None or lane.last is None:
        return None
    found, steps = view.scored(state), every(state, lane)
    if view.held is not None:
        looked = view.held.step
        if looked > lane.last.step and lane.rollouts.get(looked) is view.held:
            return None  # it is under way
    elif steps == 1:
        looked = lane.last.step
    else:  # where no tokens will come one need not wait for the step's end
        newest = lane.rollout
        under_way = newest is not None and newest.step > lane.last.step
        looked = newest.step if newest and under_way and newest.graded else lane.last.step
    if found is not None and found.step >= looked:
        return None
    shown = found.step if found is not None else None
    nearest = shown if shown is not None else _nearest(desk, lane, looked)
    return Lag(looked, shown, steps, nearest)


def every(state: LabState, lane: LaneState) -> int:
    """Every how many steps tokens are recorded now; 0: never."""
    scenario = state.run.scenario if state.run else {}
    section = scenario.get("record")
    now = dict(section) if isinstance(section, dict) else {}
    now |= {c.key[7:]: c.after for c in lane.changes if c.key.startswith("record.")}
    steps = now.get("tokens_every", 1)
    return steps if now.get("tokens", True) and isinstance(steps, int) else 0


def _nearest(desk: Desk, lane: LaneState, step: int) -> int | None:
    if (past := desk.source.past) is not None:
        return past.recorded(lane.name, step)
    kept = [r.step for r in lane.rollouts.values() if r.tokens is not None]
    return min(kept, key=lambda s: abs(s - step), default=None)


def told(found: Lag, key: str) -> str:
    """It in one sentence. `key` goes to the nearest recorded step."""
    if found.every == 0:
        rule = "tokens are not recorded in this run"
    elif found.every == 1:
        rule = f"the tokens of step {found.looked} are not recorded"
    else:
        rule = f"tokens are recorded every {found.every} steps"
    if found.shown is not None:
        return f"{rule}; these are of step {found.shown}: {key} goes there"
    if found.nearest is None:
        return f"{rule}: set record.tokens to see them" if found.every == 0 else rule
    return f"{rule}; {key} goes to the nearest, step {found.nearest}"


def lines(desk: Desk, p: Palette, width: int, most: int) -> list[Line]:
    """The same as at most so many lines; a click on them goes there. Empty where all is well."""
    found = lag(desk)
    if found is None:
        return []
    rows = wrap(told(found, desk.keymap.shown("recorded")), max(8, width - 2))[:most]
    out = [Line("! " if i == 0 else "  ", p.style("warn")) for i in range(len(rows))]
    return [
        line.add(row, p.style("warn")).whole(("run", "recorded"), width)
        for line, row in zip(out, rows, strict=True)
    ]
