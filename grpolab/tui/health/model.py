"""The health verdicts on the screen, cached until another step is finished."""

from __future__ import annotations

from grpolab.analysis import health
from grpolab.analysis.health import LEVELS, Verdict
from grpolab.tui.context import AppContext

COLOURS = {"bad": "bad", "warn": "warn", "note": "dim"}


def known(context: AppContext) -> list[Verdict]:
    """The cached verdicts, so that a key press does not wait for them."""
    return [] if context.health_cache is None else context.health_cache[1]


def found(context: AppContext) -> list[Verdict]:
    """Verdicts on all lanes at the step in view, worst first. The cached ones while much of the run
    is still being read."""
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
