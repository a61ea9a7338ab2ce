"""GRPO with process rewards: every step of an answer is graded, and a token answers for its own and
all later steps.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.3
Formula  r̃_j = (r_j − mean) / std                  over all steps of all G answers to one prompt
         Â_i,t = Σ_{steps j of answer i with end(j) ≥ t} r̃_j
         J as in GRPO
Differs  nothing; where an answer has its steps from is the task's affair. In the lab the answer's
         whole reward is its last step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.base import Batch
from grpolab.algorithms.functional import centred, standardised
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
        "L = −mean_rows 1/|o| Σ_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + β k3"
    )
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}  # nobody else has it
    lineage = (("grpo", "rewards of single steps; a token answers for its own and later steps"),)

    @property
    def needs_steps(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor:
        s, steps = self.settings, batch.steps
        assert steps is not None
        on = steps.mask.bool()
        group = batch.group[:, None].expand(on.shape)[on]  # of each step
        flat = steps.reward[on]
        normed = steps.reward.new_zeros(on.shape)
        if len(flat):
            normed[on] = (
                standardised(flat, group, s.ddof, s.std_epsilon)
                if s.scale == "std"
                else centred(flat, group)
            )
        at_end = batch.mask.new_zeros(batch.mask.shape).scatter_add(
            1, steps.end.clamp(min=0), normed * steps.mask
        )
        return at_end.flip(1).cumsum(1).flip(1)
