"""Every per-token quantity (channel) that can be shown: those that a step recorded, and those that
are computed from them; which of them `auto` takes. Also what is said where a step's tokens were not
recorded.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpolab.record.events import CHANNELS, FOR_THE_LENS, Tokens
from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.record.state import LabState
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import Line, wrap

if TYPE_CHECKING:
    from grpolab.tui.context import AppContext

HINTS = {
    "advantage": "how much better than expected: ▲ reinforced, ▼ penalized",
    "push": "grad weight, −∂L/∂log π × tokens: ▲ reinforced, ▼ penalized, · no gradient",
    "ratio": "new/old probability: ▲ increased, ▼ decreased",
    "clip": "⊤ clipped at the upper bound, ⊥ at the lower: no gradient; · not clipped",
    "kl": "KL to reference, of each token (k3)",
    "kl_old": "per-step KL: to the policy that sampled the rollout, of each token (k3)",
    "entropy": "entropy of the next-token distribution, in nats",
    "logprob": "log-probability when sampled",
    "value": "the critic's value before the token",
    "return": "the critic's target",
    "td": "TD error δ = r + γ V(next state) − V",
    "process": "score of the reasoning step that holds the token; at the end the answer's reward",
    "after": "change of log π by this step's updates: ▲ probability increased, ▼ decreased",
}
"""One line about each, in the order in which they are offered."""

BRIEF = {
    "advantage": "▲ reinforced, ▼ penalized",
    "push": "▲ reinforced, ▼ penalized",
    "ratio": "new/old probability",
    "clip": "· no clip",
    "kl": "k3",
    "kl_old": "k3",
    "entropy": "nats",
    "logprob": "when sampled",
    "value": "of the critic",
    "return": "the critic's target",
    "td": "r + γ V′ − V",
    "process": "score of the step",
    "after": "Δ log π by the updates",
}
"""The same in a few words, for narrow places."""

LABELS = {"push": "grad weight", "kl": "KL to reference", "kl_old": "per-step KL"}
"""What is shown in the place of a recorded name."""


def label(name: str) -> str:
    """A quantity's name on the screen."""
    return LABELS.get(name, name)


AUTO = "auto"
"""The channel that takes whichever tells most about a group's tokens."""

UNEVEN = 0.2
"""Along an answer, a difference of so much of the group's largest value is one to look at."""

SPREAD = {"ratio": 0.05, "entropy": 0.1}
"""How far a ratio must be from 1, or entropies (in nats) from each other, to be looked at."""

_MOST_KEPT = 32


@dataclass(frozen=True)
class Chosen:
    """The channel that is shown. `why` is empty where the user chose it."""

    name: str
    why: str = ""


_kept: OrderedDict[tuple[int, int, int], tuple[Tokens | None, Chosen]] = OrderedDict()


def chosen(lane: LaneState | None, r: RolloutView, prompt: int, wanted: str) -> Chosen:
    """The wanted channel if this step has it; else the one that tells most about the group."""
    if wanted != AUTO and wanted in (offered(lane, r) or ("advantage",)):
        return Chosen(wanted)
    key = id(r.tokens), id(r.after), prompt
    known = _kept.get(key)
    if known is None or known[0] is not r.tokens:
        known = _kept[key] = r.tokens, _most_telling(lane, r, prompt)
        if len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return known[1]


def _most_telling(lane: LaneState | None, r: RolloutView, prompt: int) -> Chosen:
    """Under an advantage that differs from token to token, the advantage. Under one per answer, the
    gradient weight where it differs along an answer, else the ratio or the entropy once they
    spread."""
    there = offered(lane, r)

    def answers(name: str) -> list[list[float]]:
        found = (values(lane, r, name, row) for row in r.rows(prompt)) if name in there else ()
        return [kept for xs in found if (kept := [x for x in xs if math.isfinite(x)])]

    if _uneven(answers("advantage"), UNEVEN / 4):
        return Chosen("advantage", "it differs from token to token")
    if _uneven(pushes := answers("push"), UNEVEN):
        return Chosen("push", "it differs along an answer, the advantage does not")
    if any(abs(x - 1) >= SPREAD["ratio"] for xs in answers("ratio") for x in xs):
        return Chosen("ratio", "it differs along an answer, the advantage does not")
    entropies = [x for xs in answers("entropy") for x in xs]
    if entropies and max(entropies) - min(entropies) >= SPREAD["entropy"]:
        return Chosen("entropy", "advantage and ratio hardly differ along an answer")
    if any(x for xs in pushes for x in xs):
        return Chosen("push", "nothing differs along an answer")
    return Chosen("advantage", "nothing differs along an answer")


def _uneven(answers: Sequence[Sequence[float]], share: float) -> bool:
    """Whether a quantity differs along an answer by this share of its largest value."""
    largest = max((abs(x) for xs in answers for x in xs), default=0.0)
    return largest > 1e-6 and any(max(xs) - min(xs) >= share * largest for xs in answers)


def offered(lane: LaneState | None, r: RolloutView) -> list[str]:
    """The quantities that a finished step has, in the order of HINTS, then unknown ones."""
    there = r.packed()
    found = {name for name in HINTS if name in there or _follows(lane, r, name)}
    more = [c for c in there if c not in (*HINTS, *CHANNELS, *FOR_THE_LENS)]
    return [*(name for name in HINTS if name in found), *more]


def values(lane: LaneState | None, r: RolloutView, name: str, row: int) -> list[float]:
    """One quantity of one answer's tokens [T]; empty where it has none."""
    rows = r.channel(name)
    if rows is not None:
        return rows[row] if row < len(rows) else []
    if not _follows(lane, r, name):
        return []
    if name == "kl_old":
        return [_k3(x) for x in moved(r, row)]
    if name == "process":
        return _process(r, row)
    from grpolab.tui.credit_trace.model import trace_of

    assert lane is not None
    found = trace_of(lane, r, row)
    return found.delta if found is not None else []


def moved(r: RolloutView, row: int) -> list[float]:
    """log π − log π_old of an answer's tokens [T], π as of the last update; from the ratio in runs
    that did not record it."""
    found = r.channel("log_ratio")
    if found is not None:
        return found[row] if row < len(found) else []
    ratios = r.channel("ratio")
    return [math.log(max(x, 1e-8)) for x in ratios[row]] if ratios and row < len(ratios) else []


def _follows(lane: LaneState | None, r: RolloutView, name: str) -> bool:
    """Whether a quantity that was not recorded can be computed from what was."""
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
    """Every token with the score of its reasoning step; none after the last step."""
    assert r.graded is not None and r.tokens is not None
    out: list[float] = []
    for end, score in r.graded.steps[row] if row < len(r.graded.steps) else ():
        out += [score] * (end + 1 - len(out))
    return out[: len(r.tokens.pieces[row])]


@dataclass(frozen=True)
class Lag:
    """The view is at a finished step whose tokens are not recorded."""

    looked: int  # that step
    shown: int | None  # the step whose tokens are shown instead, if any
    every: int  # steps from one recorded step to the next; 0: none is recorded
    nearest: int | None  # the nearest step whose tokens are recorded


def lag(context: AppContext) -> Lag | None:
    """How the tokens shown lag behind the step in view; None where they are that step's, or the
    newest finished step's."""
    view, state = context.view, context.state
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
    else:  # no tokens will come: do not wait for the step's end
        newest = lane.rollout
        under_way = newest is not None and newest.step > lane.last.step
        looked = newest.step if newest and under_way and newest.graded else lane.last.step
    if found is not None and found.step >= looked:
        return None
    shown = found.step if found is not None else None
    nearest = shown if shown is not None else _nearest(context, lane, looked)
    return Lag(looked, shown, steps, nearest)


def every(state: LabState, lane: LaneState) -> int:
    """The interval in steps at which tokens are recorded now; 0: never."""
    scenario = state.run.scenario if state.run else {}
    section = scenario.get("record")
    now = dict(section) if isinstance(section, dict) else {}
    now |= {c.key[7:]: c.after for c in lane.changes if c.key.startswith("record.")}
    steps = now.get("tokens_every", 1)
    return steps if now.get("tokens", True) and isinstance(steps, int) else 0


def _nearest(context: AppContext, lane: LaneState, step: int) -> int | None:
    if (past := context.source.past) is not None:
        return past.recorded(lane.name, step)
    kept = [r.step for r in lane.rollouts.values() if r.tokens is not None]
    return min(kept, key=lambda s: abs(s - step), default=None)


def told(found: Lag, key: str) -> str:
    """The lag in one sentence. `key` goes to the nearest recorded step."""
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


def lines(context: AppContext, p: Palette, width: int, most: int) -> list[Line]:
    """The same in at most `most` lines; a click on them goes there. Empty where there is no lag."""
    found = lag(context)
    if found is None:
        return []
    rows = wrap(told(found, context.keymap.shown("recorded")), max(8, width - 2))[:most]
    out = [Line("! " if i == 0 else "  ", p.style("warn")) for i in range(len(rows))]
    return [
        line.add(row, p.style("warn")).whole(("run", "recorded"), width)
        for line, row in zip(out, rows, strict=True)
    ]
