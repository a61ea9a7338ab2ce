"""GMPO: the geometric mean of an answer's ratios, each clipped in the log, so that no single token
dominates.

Paper    Zhao et al. 2025, Geometric-Mean Policy Optimization, arXiv 2507.20673, eq. 4, Algorithm 1
Formula  h_t = min(log ρ_t, ε_high) where Â > 0,  max(log ρ_t, −ε_low) where Â < 0
         J = 1/G Σ_i Â_i · exp(1/|o_i| Σ_t h_t)
Differs  nothing; ε is a bound of log ρ, (e^−.4, e^.4) in the paper.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.functional import held
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings


class GmpoSettings(GroupNormedSettings):
    clip_low: float | None = Field(
        0.4, ge=0, description="bound of −log ρ for blamed tokens; none: no bound"
    )
    clip_high: float | None = Field(
        0.4, ge=0, description="bound of log ρ for praised tokens; none: no bound"
    )


class Gmpo(GroupNormed):
    name = "gmpo"
    title = "Geometric-mean policy optimization"
    paper = "arXiv 2507.20673, eq. 4"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows Â exp(1/|o| Σ_t clip(log ρ, −ε_low, ε_high))"
    )
    lineage = (("grpo", "geometric instead of arithmetic mean of the tokens, clip in the log"),)
    aggregation = "sequence-mean"
    Settings = GmpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
    }

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        low, high = self._bounds()
        rho, praised = (now.logp - batch.old_logp) * batch.mask, credit.advantage > 0
        h = rho.clamp(max=high).where(praised, rho.clamp(min=low))
        clipped = (h != rho) & (credit.advantage != 0)
        lengths = batch.mask.sum(1, keepdim=True).clamp(min=1)
        ratio = held(h.sum(1, keepdim=True) / lengths).exp()
        gain = credit.advantage[:, :1] * ratio
        return Objective(gain, ratio.expand(rho.shape), clipped, judged=rho)

    def branch(self, token: TokenFacts) -> Branch:
        a = token.advantage
        low, high = self._bounds()
        mean = token.mean_clipped_log_ratio
        ratio = token.sequence_ratio if mean is None else math.exp(mean)
        rho = token.log_ratio
        clipped = a != 0 and (rho > high if a > 0 else rho < low)
        bound = high if a > 0 else low
        why = (
            f"clipped: log ρ = {rho:.4g} is beyond {bound:.4g}, the token has moved far enough"
            if clipped
            else f"free: log ρ = {rho:.4g} is within {bound:.4g}"
        )
        gain = a * ratio
        return Branch(gain, 0.0 if clipped else gain / max(token.length, 1), why, clipped)

    def _bounds(self) -> tuple[float, float]:
        s = self.settings
        return (
            -math.inf if s.clip_low is None else -s.clip_low,
            math.inf if s.clip_high is None else s.clip_high,
        )
