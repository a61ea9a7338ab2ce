"""SAPO: a soft gate instead of a clip: the further a ratio is from 1, the less its token counts.

Paper    Gao et al. 2025, Soft Adaptive Policy Optimization, arXiv 2511.20347, eq. 5 and 6
Formula  Â_i = (r_i − mean r) / std r
         f(ρ) = 4/τ · σ(τ(ρ − 1))            τ: τ₊ for praised, τ₋ for blamed tokens
         J = 1/G Σ_i 1/|o_i| Σ_t f(ρ_t) Â_i
Differs  nothing. f′(1) = 1, so on-policy it is GRPO; f(1) is 2/τ and not 1, which shifts the loss
         only.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.functional import token_ratio
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings
from grpolab.algorithms.settings import Aggregation


class SapoSettings(GroupNormedSettings):
    tau_positive: float = Field(1.0, gt=0, description="τ₊: steepness of the gate, praised tokens")
    tau_negative: float = Field(1.05, gt=0, description="τ₋: steepness of the gate, blamed tokens")
    aggregation: Aggregation = "seq-mean-token-mean"


class Sapo(GroupNormed):
    name = "sapo"
    title = "Soft adaptive policy optimization"
    paper = "arXiv 2511.20347, eq. 5 and 6"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows 1/|o| Σ_t 4/τ sigmoid(τ (ρ − 1)) Â"
    )
    lineage = (("grpo", "a smooth gate instead of the clip, steeper for blame, no KL"),)
    Settings = SapoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased", "ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
    }

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        s = self.settings
        ratio = token_ratio(batch, now)
        praised = (credit.advantage > 0).to(ratio.dtype)
        tau = praised * (s.tau_positive - s.tau_negative) + s.tau_negative
        gate = 4 / tau * (tau * (ratio - 1)).sigmoid()
        return Objective(gate * credit.advantage, ratio)

    def branch(self, token: TokenFacts) -> Branch:
        s = self.settings
        tau = s.tau_positive if token.advantage > 0 else s.tau_negative
        x = tau * (token.ratio - 1)
        open_ = 1 / (1 + math.exp(-x)) if x > -700 else 0.0
        slope = 4 * open_ * (1 - open_) * token.ratio * token.advantage
        width = 4 * open_ * (1 - open_)
        why = f"the gate is open to {width:.3g} at ρ = {token.ratio:.4g}, and to 1 at ρ = 1"
        return Branch(4 / tau * open_ * token.advantage, slope, why)
