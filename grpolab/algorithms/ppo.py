"""PPO as RLHF uses it: a learned critic, GAE, and two clips.

Paper    Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9; as applied by
         Ouyang et al. 2022, arXiv 2203.02155; adaptive β: Ziegler et al. 2019, 1909.08593, §2.2
Formula  r_t = −β·k1_t, plus the answer's reward at its last token
         Â = GAE(γ, λ) of r and V, whitened over the batch;  R = GAE + V before whitening
         L = −mean_t min(ρÂ, clip(ρ, 1−ε, 1+ε)Â) + mean_t ½ max((V−R)², (V_clip−R)²)
         V_clip = clip(V, V_old − ε_v, V_old + ε_v)
Differs  no entropy bonus unless `entropy_bonus` is set. The critic is an adapter of its own with a
         head that starts at 0, so its loss needs no weight, and ε_v is 1: with .2 a new critic
         would need six steps just to reach the mean reward.
"""

from __future__ import annotations

from typing import Any, ClassVar

from grpolab.algorithms.actor_critic import ActorCritic, ActorCriticSettings
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.settings import Beta, ClipHigh, ClipLow, DualClip, KlEstimator, KlPlace


class PpoSettings(ActorCriticSettings):
    beta: Beta = 0.01
    kl_place: KlPlace = "reward"
    kl_estimator: KlEstimator = "k1"
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None


class Ppo(TokenClipped, ActorCritic):
    name = "ppo"
    title = "Proximal policy optimization with a critic"
    paper = "arXiv 1707.06347, 2203.02155"
    formula = (
        "r_t = −β k1, + r at the last token\n"
        "Â = whiten_batch(GAE(γ, λ) of r_t and V)\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)\n"
        "L_V = ½ mean_tokens max((V − R)², (V_clip − R)²)"
    )
    lineage = (
        ("trpo", "a clip instead of the constraint: first-order steps"),
        ("ppo-kl", "a clip instead of the penalty"),
    )
    Settings = PpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"beta": 0.05, "clip_value": 0.2, "value_weight": 0.1},
        "verl": {"beta": 0.0, "gae_lambda": 1.0, "dual_clip": 3.0, "clip_value": 0.5},
        "openrlhf": {"gae_lambda": 1.0, "ddof": 0, "clip_value": 0.5},
    }
