"""VC-PPO: PPO with a pretrained critic, and separate λ for policy and critic.

Paper    Yuan et al. 2025, What's Behind PPO's Collapse in Long-CoT?, arXiv 2503.01491, §3
Formula  Â = GAE(γ, λ_policy), whitened over the batch;  R = GAE(γ, λ_critic) + V
         λ_policy = .95 (`gae_lambda`), λ_critic = 1
         L as in PPO; the critic is first trained on rollouts of the initial policy
Differs  the paper pretrains the critic until explained variance and value loss are good; here for
         a number of rollouts, `value_pretraining`. Whitening: see ppo.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Credit, Forward, Objective
from grpolab.algorithms.functional import clipped_surrogate, gae, token_ratio, whiten
from grpolab.algorithms.ppo import Ppo, PpoSettings
from grpolab.algorithms.settings import Beta


class VcPpoSettings(PpoSettings):
    beta: Beta = 0.0
    critic_lambda: float = Field(1.0, ge=0, le=1, description="λ of the critic's targets")
    value_pretraining: int = Field(
        16, ge=0, description="rollouts that a new critic is trained on before the first step"
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
    lineage = (("ppo", "the critic is pretrained and fits Monte Carlo returns (λ = 1)"),)
    Settings = VcPpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def advantage(self, batch: Batch) -> Credit:
        cfg, mask = self.settings, batch.mask
        r, V = batch.token_reward, batch.value
        assert r is not None and V is not None
        advantage, _ = gae(r, V, mask, cfg.gamma, cfg.gae_lambda)  # Â = GAE(γ, λ_policy)
        _, R = gae(r, V, mask, cfg.gamma, cfg.critic_lambda)  # R = GAE(γ, λ_critic) + V
        if cfg.whiten:
            advantage = whiten(advantage, mask, cfg.ddof)
        return Credit(advantage, R)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)
