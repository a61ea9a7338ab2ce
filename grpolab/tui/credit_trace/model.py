"""Credit along one answer, token by token: reward, value, surprise, advantage and return, computed
again in float64 from what the step recorded, by the recurrence that the engine uses.

δ_t = r_t + γ V_{t+1} − V_t, V after the last token 0;  Â_t = δ_t + γ λ Â_{t+1};  R_t = Â_t + V_t,
Â there with the critic's own λ where it has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui.formulas import token_facts

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm


@dataclass(frozen=True)
class Trace:
    """Lists are by token. Without a critic `value` is what stands in for it, the same for every
    token, or empty; `delta` and `gae` are empty."""

    critic: bool
    stands: str  # the symbol of what stands in for V: "m", "b", or "" where nothing does
    gamma: float
    lam: float  # λ of the advantages
    lam_critic: float  # λ of the returns
    value: list[float]
    price: list[float]  # β·KL of each token, where it counts in the reward
    reward: list[float]  # r_t, the price taken off
    delta: list[float]
    gae: list[float]  # Â before it is whitened
    returns: list[float]
    outcome: list[float]  # what really followed: Σ γ^k r from the token on
    advantage: list[float]  # as recorded: what the objective used

    @property
    def scaled(self) -> bool:
        """Whether the objective used other numbers than GAE's: whitened over the batch."""
        pairs = zip(self.gae, self.advantage, strict=False)
        return any(abs(a - b) > 0.01 * max(1.0, abs(a)) for a, b in pairs)


def of(lane: LaneState, r: RolloutView, row: int) -> Trace | None:
    """The trace of one answer of a finished step; None where its numbers are not known."""
    made = algorithm_of(lane, r)
    return None if made is None else trace(made, r, row)


def algorithm_of(lane: LaneState, r: RolloutView) -> Algorithm | None:
    """The algorithm that judged a step, its β as it then was."""
    name, _, settings = lane.in_force(r.step)
    if name != r.algorithm:
        return None
    return token_facts.algorithm(name, settings, token_facts.beta_at(lane, r.step))


def trace(algorithm: Algorithm, r: RolloutView, row: int) -> Trace | None:
    advantage = token_facts.row_of(r, "advantage", row)
    if r.graded is None or advantage is None:
        return None
    n = len(advantage)
    price = token_facts.kl_penalties(algorithm, r, row)[:n] or [0.0] * n
    reward = [-x for x in price]
    reward[-1] += token_facts.reward(algorithm, r, row, whole=False)
    s = algorithm.settings
    gamma = float(getattr(s, "gamma", 1.0))
    outcome = to_go(reward, gamma)
    value = token_facts.row_of(r, "value", row)
    if value is None or not algorithm.needs_critic:
        symbol, number = stand_in(algorithm, r, row, advantage)
        value = [] if number is None else [number] * n
        returns = outcome if hasattr(s, "gamma") or any(price) else [sum(reward)] * n
        return Trace(
            False, symbol, gamma, 1.0, 1.0, value, price, reward, [], [], returns, outcome,
            advantage,
        )  # fmt: skip
    lam = policy_lambda(s, n)
    own = getattr(algorithm, "critic_lambda", None)
    delta = surprises(reward, value, gamma)
    gae = to_go(delta, gamma * lam)
    fit = gae if own is None else to_go(delta, gamma * own)
    returns = [a + v for a, v in zip(fit, value, strict=True)]
    return Trace(
        True, "V", gamma, lam, lam if own is None else own, value, price, reward, delta, gae,
        returns, outcome, advantage,
    )  # fmt: skip


def surprises(reward: Sequence[float], value: Sequence[float], gamma: float) -> list[float]:
    """δ of every token."""
    following = [*value[1:], 0.0]
    return [r + gamma * v - u for r, u, v in zip(reward, value, following, strict=True)]


def to_go(x: Sequence[float], decay: float) -> list[float]:
    """Σ_{u ≥ t} decay^(u−t) x_u."""
    out, running = [0.0] * len(x), 0.0
    for t in range(len(x) - 1, -1, -1):
        running = x[t] + decay * running
        out[t] = running
    return out


def policy_lambda(settings: Any, length: int) -> float:
    """λ of the advantages of an answer: the setting, or what its length makes of it."""
    fixed = getattr(settings, "gae_lambda", None)
    if fixed is not None:
        return float(fixed)
    return max(0.0, 1 - 1 / (getattr(settings, "length_alpha", math.inf) * max(length, 1)))


def stand_in(
    algorithm: Algorithm, r: RolloutView, row: int, advantage: Sequence[float]
) -> tuple[str, float | None]:
    """What an algorithm without a critic compares an answer with: its symbol in the formula and
    its number, as far as it is known."""
    from grpolab.algorithms import explain

    assert r.graded is not None
    symbols = {term.symbol for term in explain.terms(type(algorithm))}
    prompt = row // max(r.group_size, 1)
    if "b" in symbols:
        if algorithm.needs_greedy:
            known = r.graded.greedy_reward
            return "b", known[prompt] if prompt < len(known) else None
        if algorithm.settings.kl_place == "reward" and algorithm.settings.beta > 0:
            return "b", None
        return "b", token_facts.reward(algorithm, r, row, whole=True) - advantage[-1]
    if "mean_others" in algorithm.formula:
        return "b", token_facts.reward(algorithm, r, row, whole=True) - advantage[-1]
    if "m" in symbols and not algorithm.needs_steps:
        rewards = [token_facts.reward(algorithm, r, i, whole=True) for i in r.rows(prompt)]
        return "m", sum(rewards) / len(rewards)
    return "", None


# --- verdict ---
# Does the critic beat the group's mean? Both forecast how an answer will end; what happened says
# who was nearer, over all answers of one rollout. The group's mean is taken without the answer
# itself: with it, it would know a share of what it is to forecast.

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


def of_step(algorithm: Algorithm, r: RolloutView) -> Verdict | None:
    """Of a finished step under the algorithm that judged it; None while nothing is known."""
    if r.tokens is None or r.graded is None:
        return None
    found: list[list[Trace]] = []
    tokens = 0
    for prompt in range(len(r.prompts)):
        rows = [trace(algorithm, r, row) for row in r.rows(prompt)]
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
