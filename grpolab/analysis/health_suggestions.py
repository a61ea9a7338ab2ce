"""What to try when something is wrong: real settings of the lane's algorithm, rollout or training,
each with the value it has and the one worth trying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState

NEXT_RUN = ("model.",)
"""Settings that a running lab does not change; they stand in the scenario."""


@dataclass(frozen=True)
class Try:
    """One setting to try. `live`: `set` may give it while the run goes on."""

    key: str
    now: Any
    value: Any
    why: str
    live: bool = True


Change = Callable[[Any, dict[str, Any]], Any]
"""From the setting's value and all settings, the value to try; None: it would not help here."""


@dataclass(frozen=True)
class Candidate:
    key: str
    change: Change
    why: str


def values(state: LabState, lane: LaneState, at: int | None = None) -> dict[str, Any]:
    """Every setting in force on a lane by the name that `set` knows it by; those that step `at` was
    computed with, or of now."""
    scenario = state.run.scenario if state.run else {}
    out: dict[str, Any] = dict(lane.settings if at is None else lane.in_force(at)[2])
    for section in ("train", "rollout", "model"):
        there = scenario.get(section)
        if isinstance(there, dict):
            out |= {f"{section}.{k}": v for k, v in there.items() if not isinstance(v, dict)}
    made = (c for c in lane.changes if "." in c.key and (at is None or c.step < at))
    out |= {c.key: c.after for c in made}
    if out.get("train.learning_rate", 0) is None:
        out["train.learning_rate"] = _own_rate(out, lane, at)
    return out


def choose(candidates: Sequence[Candidate], known: dict[str, Any]) -> tuple[Try, ...]:
    """The first two that exist here and would change something."""
    found: list[Try] = []
    for c in candidates:
        if c.key not in known or any(t.key == c.key for t in found):
            continue
        value = c.change(known[c.key], known)
        if value is not None and value != known[c.key]:
            live = not c.key.startswith(NEXT_RUN)
            found.append(Try(c.key, known[c.key], value, c.why, live))
    return tuple(found[:2])


def _own_rate(known: dict[str, Any], lane: LaneState, at: int | None) -> float | None:
    """The algorithm's own learning rate, from that of a step, before the schedule."""
    last = lane.last if at is None else lane.steps.upto(at)
    rate = last.metrics.get("learning_rate") if last else None
    if last is None or rate is None or known.get("train.schedule") != "linear":
        return rate
    steps = known.get("train.steps") or 0
    return rate / (1 - 0.9 * min(1.0, (last.step - 1) / (steps - 1))) if steps > 1 else rate


def tidy(value: float) -> float:
    """To one significant digit, as a person would type it."""
    return float(f"{value:.1g}")


def scaled(by: float) -> Change:
    """A number so many times as large."""
    return lambda now, _: tidy(now * by) if isinstance(now, int | float) and now > 0 else None


def whole(by: float, least: int = 1) -> Change:
    """A whole number so many times as large."""
    return lambda now, _: max(least, round(now * by)) if isinstance(now, int) else None


def absent(value: Any) -> Change:
    """This value where there is none, or 0."""
    return lambda now, _: value if not now else None


def below(value: Any) -> Change:
    """This value where it is less."""
    return lambda now, _: value if isinstance(now, int | float) and now < value else None


def above(value: Any) -> Change:
    """This value where it is more."""
    return lambda now, _: value if isinstance(now, int | float) and now > value else None


def beyond_float32(now: Any, known: dict[str, Any]) -> str | None:
    return "float32" if now != "float32" and known.get("model.quantize") == "none" else None


def leash(now: Any, known: dict[str, Any]) -> float | None:
    """More of the KL, where it counts anywhere."""
    if known.get("kl_place") not in ("reward", "loss") or not isinstance(now, int | float):
        return None
    return 0.04 if now == 0 else tidy(now * 2.5)


LESS_RATE = Candidate("train.learning_rate", scaled(1 / 3), "smaller steps stay where it is known")
ONE_PASS = Candidate(
    "train.updates_per_rollout", above(1), "fewer updates from one rollout: ratios stay near 1"
)
MORE_LEASH = Candidate("beta", leash, "a stronger pull back to the reference")
MORE_PROMPTS = Candidate("rollout.prompts", whole(2), "more answers, less noise in the gradient")
COOLER = Candidate(
    "rollout.temperature", lambda t, _: tidy(t - 0.2) if t > 0.5 else None,
    "less wandering: answers come to an end sooner",
)  # fmt: skip
WARMER = Candidate(
    "rollout.temperature", lambda t, _: tidy(t + 0.2) if t < 1.5 else None,
    "answers differ more from each other",
)  # fmt: skip
