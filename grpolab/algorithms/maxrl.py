"""MaxRL: dividing by the mean reward turns expected reward into the likelihood of success.

Paper    Tajwar et al. 2026, Maximum Likelihood Reinforcement Learning, arXiv 2602.02710
Formula  Â_i = (r_i − m) / m               m: mean of r over the group; Â = 0 where m = 0
         L = −mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
Differs  PPO's clip is added, for more than one update per rollout. Where m is negative Â is 0 too:
         the derivation takes rewards for probabilities of success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from grpolab.algorithms.functional import centred, clipped_surrogate, group_mean, token_ratio
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, DualClip

if TYPE_CHECKING:
    from torch import Tensor


class MaxRlSettings(Settings):
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    aggregation: Aggregation = "token-mean"


class MaxRl(Algorithm):
    name = "maxrl"
    title = "Maximum likelihood RL"
    paper = "arXiv 2602.02710"
    formula = (
        "m = mean of r over the group\n"
        "Â = (r − m) / m\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)"
    )
    lineage = (("grpo", "divides by the mean instead of the std: hard prompts weigh more"),)
    group_baseline = True
    Settings = MaxRlSettings

    def advantage(self, batch: Batch) -> Tensor:
        r, m = batch.reward, group_mean(batch.reward, batch.group)
        return centred(r, batch.group) / m.masked_fill(m <= 0, float("inf"))  # Â = (r − m) / m

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
