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

from grpolab.lane_state import LaneState
from grpolab.rollout_view import RolloutView
from grpolab.tui import facts

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
    return facts.algorithm(name, settings, facts.beta_at(lane, r.step))


def trace(algorithm: Algorithm, r: RolloutView, row: int) -> Trace | None:
    advantage = facts.row_of(r, "advantage", row)
    if r.graded is None or advantage is None:
        return None
    n = len(advantage)
    price = facts.prices(algorithm, r, row)[:n] or [0.0] * n
    reward = [-x for x in price]
    reward[-1] += facts.reward(algorithm, r, row, whole=False)
    s = algorithm.settings
    gamma = float(getattr(s, "gamma", 1.0))
    outcome = to_go(reward, gamma)
    value = facts.row_of(r, "value", row)
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
        return "b", facts.reward(algorithm, r, row, whole=True) - advantage[-1]
    if "mean_others" in algorithm.formula:
        return "b", facts.reward(algorithm, r, row, whole=True) - advantage[-1]
    if "m" in symbols and not algorithm.needs_steps:
        rewards = [facts.reward(algorithm, r, i, whole=True) for i in r.rows(prompt)]
        return "m", sum(rewards) / len(rewards)
    return "", None
