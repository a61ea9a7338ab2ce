"""The health verdicts that the screen shows, worked out once for each finished step."""

from __future__ import annotations

from grpolab.analysis import health
from grpolab.analysis.health import LEVELS, Verdict
from grpolab.tui.context import Desk

COLOURS = {"bad": "bad", "warn": "warn", "note": "dim"}


def known(desk: Desk) -> list[Verdict]:
    """As they were last worked out: a key does not wait for them."""
    return [] if desk.ailing is None else desk.ailing[1]


def found(desk: Desk) -> list[Verdict]:
    """Of all lanes, the worst first, as it stood at the step that is looked at. Nothing new while
    much of the run is still being found."""
    if desk.source.behind:
        return known(desk)
    held = desk.view.held.step if desk.view.held else None
    lanes = desk.state.lanes
    key = (
        held,
        tuple((id(x), len(x.steps), len(x.evals), len(x.changes), len(x.switches))
              for x in lanes.values()),
    )  # fmt: skip
    if desk.ailing is None or desk.ailing[0] != key:
        made = [v for lane in lanes.values() for v in health.verdicts(desk.state, lane, held)]
        desk.ailing = key, sorted(made, key=lambda v: LEVELS.index(v.level))
    return desk.ailing[1]
