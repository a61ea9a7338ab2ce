"""RLOO: each answer is compared with the mean of the other answers to its prompt.

Paper    Ahmadian et al. 2024, Back to Basics, arXiv 2402.14740, §2.2 and eq. 8
Formula  R_i = r_i − β Σ_t k1_t                    KL against the reference, in the reward
         Â_i = R_i − 1/(G−1) Σ_{j≠i} R_j  =  G/(G−1) · (R_i − mean R)
         L = −1/N Σ_i ρ_i Â_i                      ρ_i = π(answer)/π_old(answer), the whole sequence
Differs  the paper makes one update per rollout, where ρ = 1 and the gradient is Â ∇log π(answer);
         for more, the sequence ratio is the importance weight, clipped if `clip_low` and
         `clip_high` are set (TRL clips at .2).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms import base
from grpolab.algorithms.base import Batch, Credit, Forward, Loss, Whole
from grpolab.algorithms.pieces import clipped_surrogate, group_size, group_sum, kl_estimate


class RlooSettings(base.Settings):
    beta: float = Field(
        0.0, ge=0, description="weight of the KL against the reference, in the reward (k1)"
    )
    clip_low: float | None = Field(
        None, ge=0, le=1, description="ε below 1 for the sequence ratio; none: no clip"
    )
    clip_high: float | None = Field(
        None, ge=0, description="ε above 1 for the sequence ratio; none: no clip"
    )


class Rloo(base.Algorithm):
    name = "rloo"
    title = "REINFORCE leave-one-out"
    paper = "arXiv 2402.14740"
    formula = (
        "R = r − β Σ_t k1\n"
        "Â = R − mean of the other G−1\n"
        "L = −mean_rows ρ_seq Â    ρ_seq = exp Σ_t log ρ"
    )
    aggregation = "sequence mean"
    Settings = RlooSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"beta": 0.05, "clip_low": 0.2, "clip_high": 0.2},
    }

    def credit(self, batch: Batch) -> Credit:
        reward = batch.reward
        if self.settings.beta > 0 and batch.ref_logp is not None:
            k1 = kl_estimate(batch.old_logp, batch.ref_logp, "k1") * batch.mask
            reward = reward - self.settings.beta * k1.sum(1)
        others = (group_size(reward, batch.group) - 1).clamp(min=1)
        alone = group_size(reward, batch.group) == 1  # nobody to compare with: no signal
        advantage = reward - (group_sum(reward, batch.group) - reward) / others
        return Credit(advantage.masked_fill(alone, 0.0)[:, None] * batch.mask)

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        s = self.settings
        advantage = credit.advantage[:, 0]
        ratio = ((now.logp - batch.old_logp) * batch.mask).sum(1).exp()
        low = 1.0 if s.clip_low is None else s.clip_low
        high = float("inf") if s.clip_high is None else s.clip_high
        surrogate, clipped = clipped_surrogate(ratio, advantage, low, high)
        return Loss({"policy": -surrogate.sum() / whole.rows}, ratio[:, None], clipped[:, None])
