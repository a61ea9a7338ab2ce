"""PPO as RLHF uses it: a learned critic, GAE, and two clips.

Paper    Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9; as applied by
         Ouyang et al. 2022, arXiv 2203.02155
Formula  r_t = −β·k1_t, plus the answer's reward at its last token
         Â = GAE(γ, λ) of r and V, whitened over the batch;  R = GAE + V before whitening
         L = −mean_t min(ρÂ, clip(ρ, 1−ε, 1+ε)Â) + c·mean_t ½ max((V−R)², (V_clip−R)²)
         V_clip = clip(V, V_old − ε_v, V_old + ε_v)
Differs  no entropy bonus. The critic is an adapter of its own with a head that starts at 0, so c
         scales its loss only, and ε_v is 1: with .2 a new critic would need six steps just to
         reach the mean reward.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms import base
from grpolab.algorithms.base import Batch, Credit, Forward, Loss, Whole, shaped_reward, token_ratio
from grpolab.algorithms.pieces import Aggregation, aggregate, clipped_surrogate, gae, whiten


class PpoSettings(base.Settings):
    beta: float = Field(
        0.01, ge=0, description="weight of the KL against the reference, in the reward (k1)"
    )
    gamma: float = Field(1.0, ge=0, le=1, description="discount of later rewards")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="1: whole returns, 0: one-step TD")
    whiten: bool = Field(
        True, description="scale advantages to mean 0 and variance 1 over the batch"
    )
    clip_low: float = Field(
        0.2, ge=0, le=1, description="ε below 1: the ratio counts down to 1 − ε"
    )
    clip_high: float = Field(0.2, ge=0, description="ε above 1: the ratio counts up to 1 + ε")
    clip_value: float = Field(1.0, gt=0, description="how far a new value may leave the old one")
    value_weight: float = Field(0.5, ge=0, description="c: weight of the value loss")
    aggregation: Aggregation = Field("token-mean", description="how token losses become one number")


class Ppo(base.Algorithm):
    name = "ppo"
    title = "Proximal policy optimization with a critic"
    paper = "arXiv 1707.06347, 2203.02155"
    formula = (
        "r_t = −β·k1 + r at the last token;  Â = whiten(GAE(γ, λ))\n"
        "L = −mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + c·½ mean_t max((V−R)², (V_clip−R)²)"
    )
    aggregation = "token-mean"
    needs_critic = True
    Settings = PpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}

    def credit(self, batch: Batch) -> Credit:
        s = self.settings
        assert batch.value is not None, "ppo needs a critic's values"
        reward = shaped_reward(batch, s.beta)
        advantage, returns = gae(reward, batch.value, batch.mask, s.gamma, s.gae_lambda)
        if s.whiten:
            advantage = whiten(advantage, batch.mask)
        return Credit(advantage, returns)

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        s = self.settings
        assert now.value is not None and batch.value is not None and credit.returns is not None
        ratio = token_ratio(batch, now)
        surrogate, clipped = clipped_surrogate(ratio, credit.advantage, s.clip_low, s.clip_high)
        near = batch.value + (now.value - batch.value).clamp(-s.clip_value, s.clip_value)
        error = ((now.value - credit.returns) ** 2).maximum((near - credit.returns) ** 2)
        return Loss(
            {
                "policy": -aggregate(surrogate, batch.mask, s.aggregation, whole),
                "value": s.value_weight * aggregate(0.5 * error, batch.mask, s.aggregation, whole),
            },
            ratio,
            clipped,
        )
