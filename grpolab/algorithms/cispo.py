"""CISPO: the importance weight is clipped, but every token keeps its gradient.

Paper    MiniMax 2025, MiniMax-M1, arXiv 2506.13585, §3.1, eq. 4 and 5
Formula  Â_i = (r_i − m) / s                       m, s: mean and std of r over the group
         J = 1/Σ|o_i| Σ_i Σ_t sg(clip(ρ_t, 1−ε_low, 1+ε_high)) Â_i log π(token)
         sg: stop-gradient
Differs  the paper bounds the weight above only and does not print ε_high; 1 + ε_high = 5 here, as
         TRL advises. Nor does it say which std: ddof 0 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.base import (
    Algorithm,
    Batch,
    Branch,
    Credit,
    Forward,
    Objective,
    Settings,
    TokenFacts,
)
from grpolab.algorithms.explain import weighted
from grpolab.algorithms.functional import standardised, token_ratio
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, Ddof, StdEpsilon

if TYPE_CHECKING:
    from torch import Tensor


class CispoSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    clip_low: ClipLow = None
    clip_high: ClipHigh = 4.0
    aggregation: Aggregation = "token-mean"


class Cispo(Algorithm):
    name = "cispo"
    title = "Clipped importance weights"
    paper = "arXiv 2506.13585, §3.1"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_tokens const(clip(ρ, 1−ε_low, 1+ε_high)) Â log π"
    )
    lineage = (
        ("dapo", "clips a token's weight instead of dropping its gradient"),
        ("is-pg", "the importance weight is bounded and carries no gradient"),
    )
    learning_rate = (
        8e-4  # every token counts, with weights up to 1 + ε_high: twice this can diverge
    )
    group_baseline = True
    Settings = CispoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased", "ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6, "clip_high": 0.2},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        low, high = self._bounds()
        advantage, rho = credit.advantage, token_ratio(batch, now)
        weight = rho.detach().clamp(low, high)  # sg(clip(ρ, 1−ε_low, 1+ε_high))
        return Objective(weight * advantage * now.logp, rho, clipped=weight != rho.detach())

    def branch(self, token: TokenFacts) -> Branch:
        low, high = self._bounds()
        weight = min(max(token.ratio, low), float("inf") if high is None else high)
        bounded = weight != token.ratio
        why = f"log π is weighted with Â and {weight:.4g}, " + (
            f"to which ρ = {token.ratio:.4g} was clipped; the token keeps its gradient"
            if bounded
            else "its ratio"
        )
        return weighted(weight, token, why, clipped=bounded)

    def _bounds(self) -> tuple[float, float | None]:
        """1 − ε_low and 1 + ε_high; 0 and None where that side is open."""
        cfg = self.settings
        return (
            0.0 if cfg.clip_low is None else 1 - cfg.clip_low,
            None if cfg.clip_high is None else 1 + cfg.clip_high,
        )
