"""PPO with a fixed KL penalty instead of a clip.

Paper    Schulman et al. 2017, arXiv 1707.06347, §4, eq. 8
Formula  Â = GAE(γ, λ) of r and V, whitened over the batch
         L = −mean_t ρ_t Â_t + β mean_t KL(π_old‖π) + L_V          L_V: value loss, as in PPO
         `objective` is the first term, `kl_terms` the second
Differs  the KL is estimated on the sampled tokens: k3 from π_old's samples, which is unbiased in
         value and gradient. β is the weight of this KL, not of one to the reference. The whitening
         and the form of the value loss are not printed in the paper either: see ppo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms.actor_critic import ActorCritic, ActorCriticSettings
from grpolab.algorithms.base import (
    Batch,
    BatchTotals,
    Branch,
    Credit,
    Forward,
    Objective,
    TokenFacts,
)
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import aggregate, gae, kl_estimate, token_ratio, whiten

if TYPE_CHECKING:
    from torch import Tensor


class PpoKlSettings(ActorCriticSettings):
    beta: float = Field(1.0, ge=0, description="weight of the KL between old policy and new")
    kl_estimator: Literal["k1", "k2", "k3"] = Field("k3", description="which estimate of that KL")  # pyright: ignore[reportIncompatibleVariableOverride]
    kl_controller: Literal["fixed"] = Field("fixed", description="β stays")  # pyright: ignore[reportIncompatibleVariableOverride]
    kl_place: Literal["loss", "none"] = Field("loss", description="where that KL counts")  # pyright: ignore[reportIncompatibleVariableOverride]


class PpoKl(ActorCritic):
    name = "ppo-kl"
    title = "PPO with a fixed KL penalty"
    paper = "arXiv 1707.06347, §4"
    formula = (
        "Â = whiten_batch(GAE(γ, λ) of r_t and V)\n"
        "L = −mean_tokens (ρ Â − β KL)\n"
        "L_V = ½ mean_tokens max((V − R)², (V_clip − R)²)"
    )
    lineage = (
        ("trpo", "the KL is a penalty in the loss, not a constraint of the step"),
        ("is-pg", "a KL penalty instead of no bound at all; a critic gives the advantage"),
    )
    metrics = ("kl_loss",)
    Settings = PpoKlSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    @property
    def needs_reference(self) -> bool:
        return False

    def advantage(self, batch: Batch) -> Credit:
        cfg, mask = self.settings, batch.mask
        r, V = batch.token_reward, batch.value
        assert r is not None and V is not None
        advantage, R = gae(r, V, mask, cfg.gamma, cfg.gae_lambda)  # Â = GAE(γ, λ), R = Â + V
        if cfg.whiten:
            advantage = whiten(advantage, mask, cfg.ddof)
        return Credit(advantage, R)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        advantage, rho = credit.advantage, token_ratio(batch, now)
        return Objective(rho * advantage, rho)  # ρ Â, not clipped

    def kl_terms(
        self, batch: Batch, now: Forward, totals: BatchTotals, how: str
    ) -> dict[str, Tensor]:
        cfg = self.settings
        if cfg.kl_place == "none" or cfg.beta == 0:
            return {}
        kl = kl_estimate(batch.old_logp, now.logp, cfg.kl_estimator)  # KL(π_old‖π)
        return {"kl": self.beta * aggregate(kl, batch.mask, how, totals)}

    def branch(self, token: TokenFacts) -> Branch:
        return clipped_branch(token, token.ratio, None, None)
