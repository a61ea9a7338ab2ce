"""REINFORCE++ with the group mean as baseline: rewards centered by group, scaled by the batch.

Paper    Hu 2025, REINFORCE++, arXiv 2501.03262, §3 (the w/ baseline variant)
Formula  A_i = r_i − m                     m: mean of r over the group
         Â_i = (A_i − mean A) / std A      over all tokens of the batch
         L = −mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + β mean_t k2
Differs  which std is taken: see reinforce++.
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
    TokenFacts,
)
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import centred, clipped_surrogate, token_ratio, whiten
from grpolab.algorithms.reinforce_pp import ReinforcePpSettings
from grpolab.algorithms.settings import KlEstimator, KlPlace

if TYPE_CHECKING:
    from torch import Tensor


class ReinforcePpBaselineSettings(ReinforcePpSettings):
    kl_place: KlPlace = "loss"
    kl_estimator: KlEstimator = "k2"


class ReinforcePpBaseline(Algorithm):
    name = "reinforce++-baseline"
    title = "REINFORCE++ with a group baseline"
    paper = "arXiv 2501.03262, §3"
    formula = (
        "m = mean_group r\n"
        "Â = whiten_batch(r − m)\n"
        "L = −mean_tokens { min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k2 }"
    )
    lineage = (
        ("reinforce++", "r − m before whitening; the KL as k2 in the loss"),
        ("grpo", "divides by the batch's spread instead of the group's"),
    )
    group_baseline = True
    Settings = ReinforcePpBaselineSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "verl": {"beta": 0.0, "dual_clip": 3.0},
        "openrlhf": {"beta": 0.0, "ddof": 0},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r, mask = self.settings, batch.reward, batch.mask
        above = centred(r, batch.group)[:, None] * mask  # r − m, of every token
        return whiten(above, mask, cfg.ddof, cfg.std_epsilon)

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
