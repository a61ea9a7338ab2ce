"""RLOO: each answer is compared with the mean of the other answers to its prompt.

Paper    Ahmadian et al. 2024, Back to Basics, arXiv 2402.14740, §2.2 and eq. 8
Formula  R_i = r_i − β Σ_t k1_t                    `batch.reward`: the KL is subtracted already
         Â_i = R_i − 1/(G−1) Σ_{j≠i} R_j  =  G/(G−1) · (R_i − mean R)
         L = −1/N Σ_i ρ_ans Â_i                    ρ_ans = π(answer)/π_old(answer)
Differs  the paper makes one update per rollout, where ρ_ans = 1 and the gradient is
         Â ∇log π(answer). For more, ρ_ans is the importance weight, clipped if `clip_low` and
         `clip_high` are set (TRL clips at .2).
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
from grpolab.algorithms.functional import answer_ratio, clipped_surrogate, leave_one_out
from grpolab.algorithms.settings import ClipHigh, ClipLow, DualClip, KlEstimator, KlPlace

if TYPE_CHECKING:
    from torch import Tensor


class RlooSettings(Settings):
    kl_place: KlPlace = "reward"
    kl_estimator: KlEstimator = "k1"
    clip_low: ClipLow = None
    clip_high: ClipHigh = None
    dual_clip: DualClip = None


class Rloo(Algorithm):
    name = "rloo"
    title = "REINFORCE leave-one-out"
    paper = "arXiv 2402.14740, eq. 8"
    formula = "R = r − β Σ_t k1\nÂ = R − mean_others R\nL = −mean_rows ρ_ans Â"
    lineage = (("reinforce", "the baseline is the mean of the other answers to the same prompt"),)
    aggregation = "sequence-mean"
    group_baseline = True
    Settings = RlooSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"beta": 0.05, "clip_low": 0.2, "clip_high": 0.2},
    }

    def advantage(self, batch: Batch) -> Tensor:
        return leave_one_out(batch.reward, batch.group)  # Â_i = R_i − 1/(G−1) Σ_{j≠i} R_j

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage[:, :1]  # [n, 1]: the same in all tokens
        rho_ans = answer_ratio(batch, now)  # ρ_ans = π(answer) / π_old(answer)
        surrogate, clipped = clipped_surrogate(  # ρ_ans Â; clipped only if the settings say so
            rho_ans, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho_ans, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(
            token, token.answer_ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip, symbol="ρ_ans"
        )
