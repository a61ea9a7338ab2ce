"""VAPO: VC-PPO with a λ that depends on the answer's length, a higher upper clip, and a
log-likelihood term on right answers.

Paper    Yue et al. 2025, VAPO, arXiv 2504.05118, §4
Formula  λ_policy = 1 − 1/(α·|o|)  for each answer, λ_critic = 1
         Â = GAE(γ, λ_policy), whitened over the batch;  R = GAE(γ, λ_critic) + V
         L = −mean_t min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â) − μ mean_right log π + L_V
         mean_right: over the tokens of right answers; L_V: value loss, as in PPO
Differs  an answer is right if its reward is at least `positive_at`. mean_right divides by the right
         answers' tokens of the whole rollout, also where there are several minibatches. λ of a
         short answer (α·|o| < 1) is 0, where the formula would be negative. Whitening: see ppo.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, BatchTotals, Credit, Forward, Objective
from grpolab.algorithms.functional import clipped_surrogate, gae, token_ratio, whiten
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
    learning_rate = 8e-4  # short answers have a small λ, so Â depends on an untrained critic
    metrics = ("imitation_loss",)
    Settings = VapoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def advantage(self, batch: Batch) -> Credit:
        cfg, mask = self.settings, batch.mask
        r, V, length = batch.token_reward, batch.value, batch.mask.sum(1).clamp(min=1)
        assert r is not None and V is not None
        lam = cfg.gae_lambda
        if lam is None:
            lam = (1 - 1 / (cfg.length_alpha * length)).clamp(min=0)  # λ_policy = 1 − 1/(α |o|) [N]
        advantage, _ = gae(r, V, mask, cfg.gamma, lam)  # Â = GAE(γ, λ_policy)
        _, R = gae(r, V, mask, cfg.gamma, cfg.critic_lambda)  # R = GAE(γ, λ_critic) + V
        if cfg.whiten:
            advantage = whiten(advantage, mask, cfg.ddof)
        return Credit(advantage, R)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)

    def credit(self, batch: Batch) -> Credit:
        credit = super().credit(batch)
        right = (batch.reward >= self.settings.positive_at)[:, None] * batch.mask
        return replace(credit, imitation=right * batch.mask.sum() / right.sum().clamp(min=1))

    def other_terms(
        self, batch: Batch, credit: Credit, now: Forward, totals: BatchTotals
    ) -> dict[str, Tensor]:
        assert credit.imitation is not None
        likelihood = (credit.imitation * now.logp).sum() / max(totals.tokens, 1)  # mean_right log π
        imitation = -self.settings.imitation_weight * likelihood  # −μ mean_right log π
        return super().other_terms(batch, credit, now, totals) | {"imitation": imitation}
