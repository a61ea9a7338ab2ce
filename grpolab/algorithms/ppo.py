"""PPO as RLHF uses it: a learned critic, GAE, a clipped ratio and a clipped value.

Paper    Schulman et al. 2017, arXiv 1707.06347, eq. 7 and 9; as applied by
         Ouyang et al. 2022, arXiv 2203.02155; adaptive β: Ziegler et al. 2019, 1909.08593, §2.2
Formula  r_t = −β·k1_t, plus the answer's reward at its last token      made by `shape` in base.py
         Â = GAE(γ, λ) of r and V, R = Â + V; then Â is whitened over the batch
         L = −mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + ½ mean_t max((V−R)², (V_clip−R)²)
         V_clip = clip(V, V_old − ε_v, V_old + ε_v)      the value loss is in actor_critic.py
Differs  the max with V_clip, the ½ and the whitening are of the authors' code: eq. 9 prints
         c1 (V − V_target)² and an entropy bonus c2 S. Here c1 is ½, and there is no bonus unless
         `entropy_bonus` is set. β, the KL in the reward, is 2203.02155's. The critic is an adapter
         of its own with a head that starts at 0, so its loss needs no other weight. ε_v is 1: V may
         move by at most ε_v per rollout, so with .2 a critic that starts at 0 needs six rollouts to
         reach a reward of 1.2.
"""

from __future__ import annotations

from typing import Any, ClassVar

from grpolab.algorithms.actor_critic import ActorCritic, ActorCriticSettings
from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, gae, token_ratio, whiten
from grpolab.algorithms.settings import Beta, ClipHigh, ClipLow, DualClip, KlEstimator, KlPlace


class PpoSettings(ActorCriticSettings):
    beta: Beta = 0.01
    kl_place: KlPlace = "reward"
    kl_estimator: KlEstimator = "k1"
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None


class Ppo(ActorCritic):
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

    def advantage(self, batch: Batch) -> Credit:
        cfg, mask = self.settings, batch.mask
        r, V = batch.token_reward, batch.value
        assert r is not None and V is not None
        advantage, R = gae(r, V, mask, cfg.gamma, cfg.gae_lambda)  # Â = GAE(γ, λ), R = Â + V
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

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(token, token.ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip)
