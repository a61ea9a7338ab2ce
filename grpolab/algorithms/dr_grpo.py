"""Dr. GRPO: GRPO without its two biases: no division by the std, none by the answer's length.

Paper    Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv 2503.20783, §3.2
Formula  Â_i = r_i − m                                     m: mean of r over the group
         J = 1/G Σ_i 1/L_max Σ_t min(ρ_t Â, clip(ρ_t, 1−ε, 1+ε) Â)
         1/L_max Σ_t is the setting `aggregation: seq-mean-token-sum-norm`
Differs  the printed objective sums over an answer's tokens. 1/L_max, L_max the longest answer
         allowed, is the constant of the authors' code; it only scales the gradient.
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
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import centred, clipped_surrogate, token_ratio
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, DualClip

if TYPE_CHECKING:
    from torch import Tensor


class DrGrpoSettings(Settings):
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    aggregation: Aggregation = "seq-mean-token-sum-norm"


class DrGrpo(Algorithm):
    name = "dr-grpo"
    title = "GRPO done right"
    paper = "arXiv 2503.20783, §3.2"
    formula = (
        "m = mean of r over the group\n"
        "Â = r − m\n"
        "L = −mean_rows 1/L_max Σ_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)"
    )
    lineage = (("grpo", "no division by the std, 1/L_max instead of 1/|o|, no KL"),)
    group_baseline = True
    Settings = DrGrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased"},
        "verl": {"dual_clip": 3.0},
        "openrlhf": {"aggregation": "token-mean"},
    }

    def advantage(self, batch: Batch) -> Tensor:
        return centred(batch.reward, batch.group)  # Â = r − m

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(token, token.ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip)
