"""GRPO with outcome rewards: the mean reward of a group of answers replaces the critic.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.2, eq. 3 and 4
Formula  Â_i,t = (r_i − m) / s            m, s: mean and std of r over the G answers to one prompt
         J = 1/G Σ_i 1/|o_i| Σ_t { min(ρ_t Â, clip(ρ_t, 1−ε, 1+ε) Â) − β·k3(π‖π_ref) }
         `objective` below is the min(…); the settings `aggregation` and `beta`, `kl_place`,
         `kl_estimator` name the mean and the KL term
Differs  the paper does not say which std: population std (ddof 0) here. Other implementations add
         a constant to the std, `std_epsilon`: see the presets `trl-1.16`, `verl` and `openrlhf`
         (the last without its default KL, which it adds to the advantage). The clip range may
         differ below and above 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

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
from grpolab.algorithms.functional import centred, clipped_surrogate, standardised, token_ratio
from grpolab.algorithms.settings import (
    Aggregation,
    Beta,
    ClipHigh,
    ClipLow,
    Ddof,
    DualClip,
    KlEstimator,
    KlPlace,
    StdEpsilon,
)

if TYPE_CHECKING:
    from torch import Tensor


class GrpoSettings(Settings):
    beta: Beta = 0.04
    kl_place: KlPlace = "loss"
    kl_estimator: KlEstimator = "k3"
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    scale: Literal["std", "none"] = Field(
        "std", description="divide the advantage by the group's std, or not"
    )
    aggregation: Aggregation = "seq-mean-token-mean"


class Grpo(Algorithm):
    name = "grpo"
    title = "Group relative policy optimization"
    paper = "arXiv 2402.03300, §4.1.2"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows 1/|o| Σ_t { min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) − β k3 }"
    )
    lineage = (
        ("ppo", "the group's mean and std replace the critic; the KL moves into the loss"),
        ("rloo", "its own reward is in the mean, and the spread of the group divides"),
    )
    group_baseline = True
    Settings = GrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {
            "beta": 0.0, "kl_estimator": "unbiased", "aggregation": "token-mean", "ddof": 1,
            "std_epsilon": 1e-4,
        },
        "verl": {
            "beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-6,
            "dual_clip": 3.0,
        },
        "openrlhf": {"beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-9},
    }  # fmt: skip

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        if cfg.scale == "none":
            return centred(r, batch.group)  # Â = r − m
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

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
