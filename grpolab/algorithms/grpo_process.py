"""GRPO with process rewards: every step of an answer is graded, and a token's advantage is the
sum of the normalized rewards of its own and all later steps.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.3
Formula  r̃_j = (r_j − m) / s           m, s: over the rewards of all steps of all G answers
         Â_i,t = Σ_{steps j of answer i with end(j) ≥ t} r̃_j
         J as in GRPO, eq. 3
Differs  which std is taken: see grpo. The task decides what a step is. In the lab the reward of the
         whole answer is added to that of its last step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.base import Batch, Credit, Forward, Objective
from grpolab.algorithms.functional import centred, clipped_surrogate, standardised, token_ratio
from grpolab.algorithms.grpo import Grpo

if TYPE_CHECKING:
    from torch import Tensor


class GrpoProcess(Grpo):
    name = "grpo-process"
    title = "GRPO with process rewards"
    paper = "arXiv 2402.03300, §4.1.3"
    formula = (
        "m, s = mean and std of all step rewards of the group\n"
        "Â = Σ_later_steps (r_t − m) / s\n"
        "L = −mean_rows 1/|o| Σ_t { min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k3 }"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}  # nobody else has it
    lineage = (("grpo", "rewards of single steps; a token's Â sums its own and later steps"),)
    group_baseline = False  # it compares steps: answers of equal reward may differ in theirs

    @property
    def needs_steps(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor:
        cfg, steps = self.settings, batch.steps
        assert steps is not None
        on = steps.mask.bool()
        r, group = steps.reward[on], batch.group[:, None].expand(on.shape)[on]  # of every step
        normed = steps.reward.new_zeros(on.shape)  # r̃ [N, S]
        if len(r):
            normed[on] = (
                standardised(r, group, cfg.ddof, cfg.std_epsilon)  # (r_j − m) / (s + ε)
                if cfg.scale == "std"
                else centred(r, group)
            )
        at_end = batch.mask.new_zeros(batch.mask.shape).scatter_add(  # r̃_j at end(j) [N, T]
            1, steps.end.clamp(min=0), normed * steps.mask
        )
        return at_end.flip(1).cumsum(1).flip(1)  # Σ over end(j) ≥ t

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)
