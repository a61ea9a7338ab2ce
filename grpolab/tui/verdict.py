"""Does the critic beat the group's mean? Both forecast how an answer will end; what happened says
who was nearer, over all answers of one rollout.

The group's mean is taken without the answer itself: with it, it would know a share of what it is
to forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpolab.rollout_view import RolloutView
from grpolab.tui import trace as traces
from grpolab.tui.trace import Trace

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm

MOST_TOKENS = 200_000
"""Of a larger rollout, so many tokens' worth of groups are looked at."""


@dataclass(frozen=True)
class Verdict:
    """Mean squared errors of forecasts of the answers' outcomes. NaN where there is nothing to
    compare."""

    answers: int
    groups: int
    critic: bool
    first_critic: float  # V of the state before the first token
    first_others: float  # mean of the group's other answers
    first_mean: float  # mean of the whole group
    all_critic: float  # V before every token, mean over tokens
    all_others: float  # the others' mean, held along the answer
    explained: float  # of the returns that the critic learns from
    explained_outcome: float  # of what really followed
    gap: float  # first_critic − first_others
    error: float  # standard error of that gap, groups as units

    @property
    def word(self) -> str:
        """`beats`, `loses to` or `matches`, within two standard errors; empty where nobody can
        say."""
        if not self.critic or not math.isfinite(self.gap):
            return ""
        if not math.isfinite(self.error):
            return "matches" if self.gap == 0 else "beats" if self.gap < 0 else "loses to"
        if abs(self.gap) <= 2 * self.error:
            return "matches"
        return "beats" if self.gap < 0 else "loses to"


def verdict(found: Sequence[Sequence[Trace]]) -> Verdict:
    """Of the traces of several groups."""
    critic = bool(found) and all(t.critic for group in found for t in group)
    first: list[list[tuple[float, float, float]]] = []  # by group and answer: squared errors
    along: list[tuple[float, float]] = []
    pairs: list[tuple[float, float]] = []  # return, value
    outcomes: list[tuple[float, float]] = []
    for group in found:
        ends = [t.outcome[0] for t in group]
        total, mine = sum(ends), []
        for t, end in zip(group, ends, strict=True):
            others = (total - end) / (len(group) - 1) if len(group) > 1 else math.nan
            v = t.value[0] if t.critic else math.nan
            mean = total / len(group)
            mine.append((_square(v - end), _square(others - end), _square(mean - end)))
            if t.critic:
                along += [
                    (_square(v - g), _square(others - g))
                    for v, g in zip(t.value, t.outcome, strict=True)
                ]
                pairs += zip(t.returns, t.value, strict=True)
                outcomes += zip(t.outcome, t.value, strict=True)
        first.append(mine)
    flat = [x for group in first for x in group]
    gaps = [_mean([a - b for a, b, _ in group]) for group in first]
    return Verdict(
        answers=len(flat),
        groups=len(first),
        critic=critic,
        first_critic=_mean([a for a, _, _ in flat]),
        first_others=_mean([b for _, b, _ in flat]),
        first_mean=_mean([c for _, _, c in flat]),
        all_critic=_mean([a for a, _ in along]),
        all_others=_mean([b for _, b in along]),
        explained=explained_variance(pairs),
        explained_outcome=explained_variance(outcomes),
        gap=_mean([a - b for a, b, _ in flat]),
        error=_error(gaps),
    )


def of(algorithm: Algorithm, r: RolloutView) -> Verdict | None:
    """Of a finished step under the algorithm that judged it; None while nothing is known."""
    if r.tokens is None or r.graded is None:
        return None
    found: list[list[Trace]] = []
    tokens = 0
    for prompt in range(len(r.prompts)):
        rows = [traces.trace(algorithm, r, row) for row in r.rows(prompt)]
        group = [t for t in rows if t is not None]
        if group:
            found.append(group)
        tokens += sum(len(t.outcome) for t in group)
        if tokens > MOST_TOKENS:
            break
    return verdict(found) if found else None


def explained_variance(pairs: Sequence[tuple[float, float]]) -> float:
    """1 − Var(target − value)/Var(target) of (target, value); 0 where all targets are equal."""
    spread = _variance([a for a, _ in pairs])
    return 1 - _variance([a - b for a, b in pairs]) / spread if spread > 1e-12 else 0.0


def _square(x: float) -> float:
    """Not `**`, which raises where a reward is beyond all measure."""
    return x * x


def _mean(x: Sequence[float]) -> float:
    return sum(x) / len(x) if x else math.nan


def _variance(x: Sequence[float]) -> float:
    middle = _mean(x)
    return _mean([_square(v - middle) for v in x])


def _error(x: Sequence[float]) -> float:
    """Standard error of a mean."""
    return math.sqrt(_variance(x) / (len(x) - 1)) if len(x) > 1 else math.nan
