"""VC-PPO: a critic that has learned before it judges, and its own λ.

Paper    Yuan et al. 2025, What's Behind PPO's Collapse in Long-CoT?, arXiv 2503.01491, §3
Formula  Â = GAE(γ, λ_policy),  R = GAE(γ, λ_critic) + V;  λ_policy = .95, λ_critic = 1
         the critic first learns from rollouts of the unchanged policy
         L as in PPO
Differs  the paper pretrains the critic until explained variance and value loss are good; here for
         a number of rollouts, `value_pretraining`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.ppo import Ppo, PpoSettings
from grpolab.algorithms.settings import Beta


class VcPpoSettings(PpoSettings):
    beta: Beta = 0.0
    critic_lambda: float = Field(1.0, ge=0, le=1, description="λ of the critic's targets")
    value_pretraining: int = Field(
        16, ge=0, description="rollouts that a new critic learns from before the first step"
    )


class VcPpo(Ppo):
    name = "vc-ppo"
    title = "PPO with a pretrained critic and decoupled λ"
    paper = "arXiv 2503.01491, §3"
    formula = (
        "Â = whiten_batch(GAE(γ, λ_policy) of r_t and V)\n"
        "R = GAE(γ, λ_critic) + V\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)\n"
        "L_V = ½ mean_tokens max((V − R)², (V_clip − R)²)"
    )
    lineage = (("ppo", "the critic is pretrained and learns whole returns (λ = 1)"),)
    Settings = VcPpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    @property
    def critic_lambda(self) -> float | None:
        return self.settings.critic_lambda
