"""GMPO: the geometric mean of an answer's token ratios, each clipped in log space, so that no
single token dominates.

Paper    Zhao et al. 2025, Geometric-Mean Policy Optimization, arXiv 2507.20673, eq. 4, Algorithm 1
Formula  Â_i = (r_i − m) / s                       m, s: mean and std of r over the group
         h_t = min(log ρ_t, ε_high) where Â > 0,  max(log ρ_t, −ε_low) where Â < 0
         J = 1/G Σ_i Â_i exp(1/|o_i| Σ_t h_t)
Differs  the paper does not say which std: ddof 0 here. ε bounds log ρ; the paper writes the bounds
         of ρ, (e^−.4, e^.4).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

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
from grpolab.algorithms.functional import bounded, standardised
from grpolab.algorithms.settings import Ddof, StdEpsilon

if TYPE_CHECKING:
    from torch import Tensor


class GmpoSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    clip_low: float | None = Field(
        0.4, ge=0, description="bound of −log ρ where Â < 0; none: no bound"
    )
    clip_high: float | None = Field(
        0.4, ge=0, description="bound of log ρ where Â > 0; none: no bound"
    )


class Gmpo(Algorithm):
    name = "gmpo"
    title = "Geometric-mean policy optimization"
    paper = "arXiv 2507.20673, eq. 4"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "h = min(log ρ, ε_high) if Â > 0, max(log ρ, −ε_low) if Â < 0\n"
        "L = −mean_rows Â exp(1/|o| Σ_t h)"
    )
    lineage = (("grpo", "geometric instead of arithmetic mean of the tokens, clip in the log"),)
    aggregation = "sequence-mean"
    group_baseline = True
    Settings = GmpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        low, high = self._bounds()
        advantage, log_rho = credit.advantage, (now.logp - batch.old_logp) * batch.mask
        h = log_rho.clamp(max=high).where(advantage > 0, log_rho.clamp(min=low))
        length = batch.mask.sum(1, keepdim=True).clamp(min=1)
        ratio = bounded(h.sum(1, keepdim=True) / length).exp()  # exp(1/|o| Σ_t h_t)
        return Objective(
            surrogate=advantage[:, :1] * ratio,  # [n, 1]: `credit` spread Â over the tokens
            ratio=ratio.expand(log_rho.shape),
            clipped=(h != log_rho) & (advantage != 0),
            clip_log_ratio=log_rho,
        )

    def branch(self, token: TokenFacts) -> Branch:
        a, log_rho = token.advantage, token.log_ratio
        low, high = self._bounds()
        mean = token.mean_clipped_log_ratio
        ratio = token.sequence_ratio if mean is None else math.exp(mean)
        clipped = a != 0 and (log_rho > high if a > 0 else log_rho < low)
        bound = high if a > 0 else low
        why = (
            f"clipped: log ρ = {log_rho:.4g} is beyond {bound:.4g}, so the token gets no gradient"
            if clipped
            else f"not clipped: log ρ = {log_rho:.4g} is within {bound:.4g}"
        )
        gain = a * ratio
        slope = 0.0 if clipped else gain / max(token.length, 1)
        return Branch(gain=gain, slope=slope, why=why, clipped=clipped)

    def _bounds(self) -> tuple[float, float]:
        """−ε_low and ε_high; infinite where that side is open."""
        cfg = self.settings
        return (
            -math.inf if cfg.clip_low is None else -cfg.clip_low,
            math.inf if cfg.clip_high is None else cfg.clip_high,
        )
