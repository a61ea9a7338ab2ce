"""PPO with an adaptive KL penalty, sometimes called PPO1.

Paper    Schulman et al. 2017, arXiv 1707.06347, §4
Formula  Â, ρ Â and the penalty β KL as in ppo-kl (eq. 8), so all three are inherited;
         after the updates, with d = mean_t KL(π_old‖π):
         β ← β/2 where d < d_target/1.5,   β ← 2β where d > 1.5·d_target
Differs  d is exact over the vocabulary, the penalty is estimated on the sampled tokens. β stays
         within a factor of 2^20 of its setting.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms.base import Batch, Credit, Policy, Report
from grpolab.algorithms.ppo_kl import PpoKl, PpoKlSettings


class PpoAdaptiveKlSettings(PpoKlSettings):
    kl_target: float = Field(
        0.01, gt=0, description="d_target: KL of one step's updates, mean per token"
    )
    kl_controller: Literal["adaptive"] = Field("adaptive", description="β doubles and halves")  # pyright: ignore[reportIncompatibleVariableOverride]


class PpoAdaptiveKl(PpoKl):
    name = "ppo-adaptive-kl"
    title = "PPO with an adaptive KL penalty"
    paper = "arXiv 1707.06347, §4"
    formula = PpoKl.formula + "\nβ = 2β if KL > 1.5 target, β/2 if KL < target/1.5"
    lineage = (
        ("ppo-kl", "β doubles after a step that is too long, halves after one that is too short"),
    )
    metrics = ("kl_loss", "kl_step", "beta")
    Settings = PpoAdaptiveKlSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    @property
    def needs_kl_to_rollout(self) -> bool:
        return True

    def update(self, policy: Policy, batch: Batch, credit: Credit, epochs: int) -> Report:
        report = super().update(policy, batch, credit, epochs)
        if self.in_critic_warmup(batch):
            return report
        report.extra |= {"kl_step": policy.measure().divergence, "beta": self.beta}
        return report

    def observe(self, batch: Batch, report: Report) -> None:
        if self.in_critic_warmup(batch):
            return
        moved, target = report.extra["kl_step"], self.settings.kl_target
        if moved > 1.5 * target:
            self.kl_scale = min(2 * self.kl_scale, 2.0**20)
        elif moved < target / 1.5:
            self.kl_scale = max(self.kl_scale / 2, 2.0**-20)
