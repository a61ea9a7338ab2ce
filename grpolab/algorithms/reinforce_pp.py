"""REINFORCE++: KL in the reward, and returns whitened over the whole batch instead of a critic.

Paper    Hu 2025, REINFORCE++, arXiv 2501.03262, §3
Formula  r_t = −β·k1_t, plus the answer's reward at its last token      made by `shape` in base.py
         R_t = Σ_{u ≥ t} γ^(u−t) r_u
         Â_t = (R_t − mean R) / std R                over all tokens of the batch
         L = −mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
Differs  the paper does not say which std; ddof 1 and 1e-8 added to the variance here, as in verl;
         OpenRLHF takes ddof 0 (preset).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

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
from grpolab.algorithms.functional import clipped_surrogate, reward_to_go, token_ratio, whiten
from grpolab.algorithms.settings import (
    Aggregation,
    Beta,
    ClipHigh,
    ClipLow,
    Ddof,
    DualClip,
    Gamma,
    KlEstimator,
    KlPlace,
)

if TYPE_CHECKING:
    from torch import Tensor


class ReinforcePpSettings(Settings):
    beta: Beta = 0.01
    kl_place: KlPlace = "reward"
    kl_estimator: KlEstimator = "k1"
    gamma: Gamma = 1.0
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    ddof: Ddof = 1
    std_epsilon: float = Field(1e-8, ge=0, description="added to the variance, under the root")
    aggregation: Aggregation = "token-mean"


class ReinforcePp(Algorithm):
    name = "reinforce++"
    title = "REINFORCE++"
    paper = "arXiv 2501.03262, §3"
    formula = (
        "r_t = −β k1, + r at the last token\n"
        "R = Σ_later γ^k r_t\n"
        "Â = whiten_batch(R)\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)"
    )
    lineage = (
        ("reinforce", "KL in the reward, returns whitened over the batch"),
        ("ppo", "keeps the clip, drops the critic"),
    )
    Settings = ReinforcePpSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "verl": {"beta": 0.0, "dual_clip": 3.0},
        "openrlhf": {"ddof": 0},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r, mask = self.settings, batch.token_reward, batch.mask
        assert r is not None
        returns = reward_to_go(r, mask, cfg.gamma)  # R_t = Σ_{u ≥ t} γ^(u−t) r_u
        return whiten(returns, mask, cfg.ddof, cfg.std_epsilon)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(token, token.ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip)
