"""CISPO: the importance weight is clipped, the token never is.

Paper    MiniMax 2025, MiniMax-M1, arXiv 2506.13585, §3.1, eq. 4 and 5
Formula  Â_i = (r_i − mean r) / std r
         J = 1/Σ|o_i| Σ_i Σ_t sg(clip(ρ_t, 1−ε_low, 1+ε_high)) Â_i log π(token)
Differs  the paper bounds the weight above only and does not print ε_high; 1 + ε_high = 5 here, as
         TRL advises.
"""

from __future__ import annotations

from typing import Any, ClassVar

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.explain import weighted
from grpolab.algorithms.functional import token_ratio
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow


class CispoSettings(GroupNormedSettings):
    clip_low: ClipLow = None
    clip_high: ClipHigh = 4.0
    aggregation: Aggregation = "token-mean"


class Cispo(GroupNormed):
    name = "cispo"
    title = "Clipped importance weights"
    paper = "arXiv 2506.13585, §3.1"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_tokens const(clip(ρ, 1−ε_low, 1+ε_high)) Â log π"
    )
    lineage = (
        ("dapo", "clips the weight of a token instead of silencing the token"),
        ("is-pg", "the importance weight is bounded and carries no gradient"),
    )
    learning_rate = 8e-4  # no token is silenced and weights reach 1 + ε_high: twice this can tip
    Settings = CispoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased", "ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6, "clip_high": 0.2},
    }

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        low, high = self._bounds()
        ratio = token_ratio(batch, now)
        weight = ratio.detach().clamp(low, high)
        return Objective(weight * credit.advantage * now.logp, ratio, weight != ratio.detach())

    def branch(self, token: TokenFacts) -> Branch:
        low, high = self._bounds()
        weight = min(max(token.ratio, low), float("inf") if high is None else high)
        bounded = weight != token.ratio
        why = f"log π is weighted with Â and {weight:.4g}, " + (
            f"to which ρ = {token.ratio:.4g} was bounded; the token is still pushed"
            if bounded
            else "its ratio"
        )
        return weighted(weight, token, why, clipped=bounded)

    def _bounds(self) -> tuple[float, float | None]:
        s = self.settings
        return (
            0.0 if s.clip_low is None else 1 - s.clip_low,
            None if s.clip_high is None else 1 + s.clip_high,
        )
