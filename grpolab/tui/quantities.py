"""Every per-token quantity that a viewer can show: those that a step recorded, and those that
follow from them.
"""

from __future__ import annotations

import math

from grpolab.events import CHANNELS, FOR_THE_LENS
from grpolab.lane_state import LaneState
from grpolab.rollout_view import RolloutView

HINTS = {
    "advantage": "how much better than expected: ▲ is to be made likelier, ▼ less likely",
    "push": "gradient weight, −∂loss/∂log π × tokens: ▲ pushed up, ▼ down, · not pushed",
    "ratio": "new/old probability: ▲ rose above 1, ▼ fell below",
    "clip": "⊤ held at the upper bound, ⊥ at the lower: not pushed on; · free",
    "kl": "distance from the start policy (k3)",
    "kl_old": "distance from the policy that wrote it, the rollout's (k3)",
    "entropy": "how open the choice was, in nats",
    "logprob": "log-probability when sampled",
    "value": "the critic's forecast before the token",
    "return": "what the critic should have said",
    "td": "TD error δ: the critic's surprise, r + γ V of the next state − V",
    "process": "score of the step that the token is part of; at the end the whole answer's reward",
    "after": "change of log π by this step's updates: ▲ became likelier, ▼ less likely",
}
"""One line for each, in the order in which they are offered."""


def offered(lane: LaneState | None, r: RolloutView) -> list[str]:
    """The quantities that a finished step has, in their order; unknown recorded ones last."""
    there = r.packed()
    found = {name for name in HINTS if name in there or _follows(lane, r, name)}
    more = [c for c in there if c not in (*HINTS, *CHANNELS, *FOR_THE_LENS)]
    return [*(name for name in HINTS if name in found), *more]


def values(lane: LaneState | None, r: RolloutView, name: str, row: int) -> list[float]:
    """One quantity of one answer's tokens; empty where it has none."""
    rows = r.channel(name)
    if rows is not None:
        return rows[row] if row < len(rows) else []
    if not _follows(lane, r, name):
        return []
    if name == "kl_old":
        return [_k3(x) for x in moved(r, row)]
    if name == "process":
        return _process(r, row)
    from grpolab.tui import trace

    assert lane is not None
    found = trace.of(lane, r, row)
    return found.delta if found is not None else []


def moved(r: RolloutView, row: int) -> list[float]:
    """log π − log π_old of an answer's tokens, π as the newest update saw it; in an older run from
    the ratio."""
    found = r.channel("log_ratio")
    if found is not None:
        return found[row] if row < len(found) else []
    ratios = r.channel("ratio")
    return [math.log(max(x, 1e-8)) for x in ratios[row]] if ratios and row < len(ratios) else []


def _follows(lane: LaneState | None, r: RolloutView, name: str) -> bool:
    """Whether a quantity can be told although it was not recorded."""
    there = r.packed()
    if name == "kl_old":
        return "log_ratio" in there or "ratio" in there
    if name == "process":
        return r.graded is not None and any(len(steps) > 1 for steps in r.graded.steps)
    return name == "td" and lane is not None and "value" in there


def _k3(log_ratio: float) -> float:
    d = min(max(log_ratio, -60.0), 60.0)
    return math.expm1(d) - d


def _process(r: RolloutView, row: int) -> list[float]:
    """Every token with the score of its step; what follows the last step belongs to the whole."""
    assert r.graded is not None and r.tokens is not None
    out: list[float] = []
    for end, score in r.graded.steps[row] if row < len(r.graded.steps) else ():
        out += [score] * (end + 1 - len(out))
    return out[: len(r.tokens.pieces[row])]
