"""VAPO: VC-PPO with a λ that fits the answer's length, clip-higher, and imitation of right answers.

Paper    Yue et al. 2025, VAPO, arXiv 2504.05118, §4
Formula  λ_policy = 1 − 1/(α·|o|)  for each answer, λ_critic = 1
         L = −mean_t min(ρÂ, clip(ρ, 1−ε_low, 1+ε_high)Â) − μ · mean_right log π
Differs  an answer is right if its reward reaches `positive_at`. The imitation term is scaled to the
         right answers of the whole rollout, also where a pass has several minibatches. λ of a
         short answer (α·|o| < 1) is 0, where the formula would be negative.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Credit, Forward, Whole
from grpolab.algorithms.settings import ClipHigh
from grpolab.algorithms.vc_ppo import VcPpo, VcPpoSettings

if TYPE_CHECKING:
    from torch import Tensor


class VapoSettings(VcPpoSettings):
    clip_high: ClipHigh = 0.28
    gae_lambda: float | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        None, ge=0, le=1, description="λ_policy of all answers; none: it follows the length"
    )
    length_alpha: float = Field(0.05, gt=0, description="α: λ_policy = 1 − 1/(α · length)")
    imitation_weight: float = Field(0.1, ge=0, description="μ: weight of imitating right answers")
    positive_at: float = Field(1.0, description="reward from which an answer counts as right")


class Vapo(VcPpo):
    name = "vapo"
    title = "Value-augmented PPO"
    paper = "arXiv 2504.05118, §4"
    formula = (
        "λ_policy = 1 − 1/(α |o|)\n"
        "Â = whiten_batch(GAE(γ, λ_policy) of r_t and V)\n"
        "R = GAE(γ, λ_critic) + V\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â) − μ mean_right log π\n"
        "L_V = ½ mean_tokens max((V − R)², (V_clip − R)²)"
    )
    lineage = (
        ("vc-ppo", "λ follows the answer's length; right answers are imitated too"),
        ("dapo", "takes its higher upper clip and token mean"),
    )
    learning_rate = 8e-4  # short answers have a small λ, and lean on a critic that knows little
    metrics = ("imitation_loss",)
    Settings = VapoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def policy_lambda(self, batch: Batch) -> float | Tensor:
        s = self.settings
        if s.gae_lambda is not None:
            return s.gae_lambda
        return (1 - 1 / (s.length_alpha * batch.mask.sum(1).clamp(min=1))).clamp(min=0)

    def credit(self, batch: Batch) -> Credit:
        credit = super().credit(batch)
        right = (batch.reward >= self.settings.positive_at)[:, None] * batch.mask
        return replace(credit, imitation=right * batch.mask.sum() / right.sum().clamp(min=1))

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, whole: Whole
    ) -> dict[str, Tensor]:
        assert credit.imitation is not None
        likelihood = (credit.imitation * now.logp).sum() / max(whole.tokens, 1)
        imitation = -self.settings.imitation_weight * likelihood
        return super().other_terms(batch, credit, now, whole) | {"imitation": imitation}
