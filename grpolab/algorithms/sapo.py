"""SAPO: a smooth gate instead of a clip: the farther the ratio is from 1, the smaller the gradient.

Paper    Gao et al. 2025, Soft Adaptive Policy Optimization, arXiv 2511.20347, eq. 5 and 6
Formula  Â_i = (r_i − m) / s                       m, s: mean and std of r over the group
         f(ρ) = 4/τ · σ(τ (ρ − 1))        σ: sigmoid; τ = τ₊ where Â > 0, else τ₋
         J = 1/G Σ_i 1/|o_i| Σ_t f(ρ_t) Â_i
Differs  the paper does not say which std: ddof 0 here. f′(1) = 1, so on-policy the gradient is
         GRPO's; f(1) is 2/τ and not 1, which only shifts the value of the loss.
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
from grpolab.algorithms.functional import standardised, token_ratio
from grpolab.algorithms.settings import Aggregation, Ddof, StdEpsilon

if TYPE_CHECKING:
    from torch import Tensor


class SapoSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    tau_positive: float = Field(1.0, gt=0, description="τ₊: steepness of the gate where Â > 0")
    tau_negative: float = Field(1.05, gt=0, description="τ₋: steepness of the gate where Â ≤ 0")
    aggregation: Aggregation = "seq-mean-token-mean"


class Sapo(Algorithm):
    name = "sapo"
    title = "Soft adaptive policy optimization"
    paper = "arXiv 2511.20347, eq. 5 and 6"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows 1/|o| Σ_t 4/τ sigmoid(τ (ρ − 1)) Â"
    )
    lineage = (("grpo", "a smooth gate instead of the clip, steeper where Â < 0, no KL"),)
    group_baseline = True
    Settings = SapoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased", "ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)
        positive = (advantage > 0).to(rho.dtype)
        tau = positive * (cfg.tau_positive - cfg.tau_negative) + cfg.tau_negative
        gate = 4 / tau * (tau * (rho - 1)).sigmoid()  # f(ρ) = 4/τ · σ(τ (ρ − 1))
        return Objective(gate * advantage, rho)

    def branch(self, token: TokenFacts) -> Branch:
        cfg, a, rho = self.settings, token.advantage, token.ratio
        tau = cfg.tau_positive if a > 0 else cfg.tau_negative
        x = tau * (rho - 1)
        sigma = 1 / (1 + math.exp(-x)) if x > -700 else 0.0
        why = f"f′(ρ) = {4 * sigma * (1 - sigma):.3g} at ρ = {rho:.4g}; it is 1 at ρ = 1"
        slope = 4 * sigma * (1 - sigma) * rho * a
        return Branch(gain=4 / tau * sigma * a, slope=slope, why=why)
