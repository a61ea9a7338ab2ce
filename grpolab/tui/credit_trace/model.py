"""Credit assignment along one answer, token by token: reward, value, TD error, advantage and
return, recomputed in float64 from the recorded step by the engine's recurrence; and a verdict on
the critic, which compares its prediction of the outcome with the mean of the group's other answers.

δ_t = r_t + γ V_{t+1} − V_t, V after the last token 0;  Â_t = δ_t + γ λ Â_{t+1};  R_t = Â_t + V_t,
in R, Â is taken with the critic's own λ if it has one.
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


MOST_TOKENS = 200_000
"""A larger rollout is judged by its first groups, up to this many tokens."""


@dataclass(frozen=True)
class Trace:
    """Lists are by token. Without a critic `value` is the baseline used instead, the same for every
    token, or empty; `delta` and `gae` are then empty."""

    critic: bool
    baseline: str  # symbol of what `value` is: "V", "m", "b", or "" for nothing
    gamma: float
    lam: float  # λ of the advantages
    lam_critic: float  # λ of the returns
    value: list[float]
    penalty: list[float]  # β·KL of each token, if the KL is part of the reward
    reward: list[float]  # r_t, after the KL penalty
    delta: list[float]
    gae: list[float]  # Â before whitening
    returns: list[float]
    outcome: list[float]  # discounted reward-to-go: Σ γ^k r from the token on
    advantage: list[float]  # as recorded, which the objective used

    @property
    def scaled(self) -> bool:
        """Whether the objective's advantages differ from GAE's (whitened over the batch)."""
        pairs = zip(self.gae, self.advantage, strict=False)
        return any(abs(a - b) > 0.01 * max(1.0, abs(a)) for a, b in pairs)


def trace_of(lane: LaneState, r: RolloutView, row: int) -> Trace | None:
    """The trace of one answer of a finished step; None if its numbers were not recorded."""
    made = algorithm_of(lane, r)
    return None if made is None else trace(made, r, row)


def algorithm_of(lane: LaneState, r: RolloutView) -> Algorithm | None:
    """The algorithm of a step, with β as it was then; None if its settings are unknown."""
    name, _, settings = lane.in_force(r.step)
    if name != r.algorithm:
        return None
    return token_facts.algorithm(name, settings, token_facts.beta_at(lane, r.step))


def trace(algorithm: Algorithm, r: RolloutView, row: int) -> Trace | None:
    """The trace of one answer under a known algorithm; None without advantages or rewards."""
    advantage = token_facts.row_of(r, "advantage", row)
    if r.graded is None or advantage is None:
        return None
    n = len(advantage)
    penalty = token_facts.kl_penalties(algorithm, r, row)[:n] or [0.0] * n
    reward = [-x for x in penalty]
    reward[-1] += token_facts.reward(algorithm, r, row, whole=False)
    s = algorithm.settings
    gamma = float(getattr(s, "gamma", 1.0))
    outcome = to_go(reward, gamma)
    value = token_facts.row_of(r, "value", row)
    if value is None or not algorithm.needs_critic:
        symbol, number = baseline_of(algorithm, r, row, advantage)
        return Trace(
            critic=False,
            baseline=symbol,
            gamma=gamma,
            lam=1.0,
            lam_critic=1.0,
            value=[] if number is None else [number] * n,
            penalty=penalty,
            reward=reward,
            delta=[],
            gae=[],
            returns=outcome if hasattr(s, "gamma") or any(penalty) else [sum(reward)] * n,
            outcome=outcome,
            advantage=advantage,
        )
    lam = policy_lambda(s, n)
    own = getattr(s, "critic_lambda", None)
    delta = td_errors(reward, value, gamma)
    gae = to_go(delta, gamma * lam)
    fit = gae if own is None else to_go(delta, gamma * own)
    return Trace(
        critic=True,
        baseline="V",
        gamma=gamma,
        lam=lam,
        lam_critic=lam if own is None else own,
        value=value,
        penalty=penalty,
        reward=reward,
        delta=delta,
        gae=gae,
        returns=[a + v for a, v in zip(fit, value, strict=True)],
        outcome=outcome,
        advantage=advantage,
    )


def td_errors(reward: Sequence[float], value: Sequence[float], gamma: float) -> list[float]:
    """TD error δ of every token."""
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
    """λ of an answer's advantages: the setting, or 1 − 1/(α·length) for length-adaptive GAE."""
    fixed = getattr(settings, "gae_lambda", None)
    if fixed is not None:
        return float(fixed)
    return max(0.0, 1 - 1 / (getattr(settings, "length_alpha", math.inf) * max(length, 1)))


def baseline_of(
    algorithm: Algorithm, r: RolloutView, row: int, advantage: Sequence[float]
) -> tuple[str, float | None]:
    """The baseline of an algorithm without a critic: its symbol in the formula, and its value if
    that is known."""
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


@dataclass(frozen=True)
class Verdict:
    """Mean squared errors of two predictions of the answers' outcomes: the critic's, and the mean
    of the group. NaN if there is nothing to compare."""

    answers: int
    groups: int
    critic: bool
    first_critic: float  # V of the state before the first token
    first_others: float  # mean of the group's other answers, so that none predicts itself
    first_mean: float  # mean of the whole group
    all_critic: float  # V before every token, mean over tokens
    all_others: float  # the others' mean, the same for every token
    explained: float  # explained variance of the returns, the critic's targets
    explained_outcome: float  # explained variance of the rewards-to-go
    gap: float  # first_critic − first_others
    error: float  # standard error of that gap, over groups

    @property
    def word(self) -> str:
        """`beats`, `loses to` or `matches` (within two standard errors); empty if undecidable."""
        if not self.critic or not math.isfinite(self.gap):
            return ""
        if not math.isfinite(self.error):
            return "matches" if self.gap == 0 else "beats" if self.gap < 0 else "loses to"
        if abs(self.gap) <= 2 * self.error:
            return "matches"
        return "beats" if self.gap < 0 else "loses to"


def verdict(found: Sequence[Sequence[Trace]]) -> Verdict:
    """The verdict on the traces of several groups."""
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


def verdict_of(algorithm: Algorithm, r: RolloutView) -> Verdict | None:
    """The verdict on a finished step under its algorithm; None while nothing is recorded."""
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
    """x², where `**` would raise OverflowError for huge rewards."""
    return x * x


def _mean(x: Sequence[float]) -> float:
    return sum(x) / len(x) if x else math.nan


def _variance(x: Sequence[float]) -> float:
    middle = _mean(x)
    return _mean([_square(v - middle) for v in x])


def _error(x: Sequence[float]) -> float:
    """Standard error of a mean."""
    return math.sqrt(_variance(x) / (len(x) - 1)) if len(x) > 1 else math.nan
