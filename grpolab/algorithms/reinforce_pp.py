"""REINFORCE++: the KL in the reward, and returns whitened over the whole batch instead of a critic.

Paper    Hu 2025, REINFORCE++, arXiv 2501.03262, §3
Formula  r_t = −β·k1_t, plus the answer's reward at its last token
         Â_t = whiten(Σ_{u ≥ t} γ^(u−t) r_u)         over all tokens of the batch
         L = −mean_t min(ρÂ, clip(ρ, 1−ε, 1+ε)Â)
Differs  the paper does not say how the std is taken; ddof 1 and 1e-8 under the root here, as in
         verl; OpenRLHF takes ddof 0 (preset).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from grpolab.algorithms.base import Batch, Settings
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.functional import reward_to_go, whiten
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


class ReinforcePp(TokenClipped):
    name = "reinforce++"
    title = "REINFORCE++"
    paper = "arXiv 2501.03262, §3"
    formula = (
        "r_t = −β k1, + r at the last token\n"
        "R = Σ_later γ r_t\n"
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
        s = self.settings
        assert batch.token_reward is not None
        returns = reward_to_go(batch.token_reward, batch.mask, s.gamma)
        return whiten(returns, batch.mask, s.ddof, s.std_epsilon)
