"""The health verdicts that the screen shows, worked out once for each finished step."""

from __future__ import annotations

from grpolab.analysis import health
from grpolab.analysis.health import LEVELS, Verdict
from grpolab.tui.context import AppContext

COLOURS = {"bad": "bad", "warn": "warn", "note": "dim"}


def known(context: AppContext) -> list[Verdict]:
    """As they were last worked out: a key does not wait for them."""
    return [] if context.health_cache is None else context.health_cache[1]


def found(context: AppContext) -> list[Verdict]:
    """Of all lanes, the worst first, as it stood at the step that is looked at. Nothing new while
    much of the run is still being found."""
    if context.source.behind:
        return known(context)
    held = context.view.held.step if context.view.held else None
    lanes = context.state.lanes
    key = (
        held,
        tuple((id(x), len(x.steps), len(x.evals), len(x.changes), len(x.switches))
              for x in lanes.values()),
    )  # fmt: skip
    if context.health_cache is None or context.health_cache[0] != key:
        made = [v for lane in lanes.values() for v in health.verdicts(context.state, lane, held)]
        context.health_cache = key, sorted(made, key=lambda v: LEVELS.index(v.level))
    return context.health_cache[1]
