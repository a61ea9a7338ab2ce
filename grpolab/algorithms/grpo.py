"""GRPO with outcome rewards: a group of answers is its own baseline.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.2, eq. 3 and 4
Formula  Â_i,t = (r_i − mean r) / (std r + ε_std)              over the G answers to one prompt
         J = 1/G Σ_i 1/|o_i| Σ_t { min(ρ_t Â, clip(ρ_t, 1−ε, 1+ε) Â) − β·k3(π‖π_ref) }
Differs  the paper leaves the std's ddof and ε open: population std (ddof 0) and 1e-6 here;
         `trl-1.16`, `verl` and `openrlhf` are presets. ε may differ below and above 1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms import base
from grpolab.algorithms.base import Batch, Credit, Forward, Loss, Whole, token_ratio
from grpolab.algorithms.pieces import (
    Aggregation,
    KlEstimator,
    aggregate,
    clipped_surrogate,
    group_mean,
    group_std,
    kl_estimate,
)


class GrpoSettings(base.Settings):
    beta: float = Field(
        0.04, ge=0, description="weight of the KL against the reference, in the loss"
    )
    kl_estimator: KlEstimator = Field("k3", description="which estimate of that KL")
    clip_low: float = Field(
        0.2, ge=0, le=1, description="ε below 1: the ratio counts down to 1 − ε"
    )
    clip_high: float = Field(0.2, ge=0, description="ε above 1: the ratio counts up to 1 + ε")
    aggregation: Aggregation = Field(
        "seq-mean-token-mean", description="how token losses become one number"
    )
    scale: Literal["std", "none"] = Field(
        "std", description="divide the advantage by the group's std, or not"
    )
    ddof: Literal[0, 1] = Field(0, description="0: population std, 1: sample std")
    std_epsilon: float = Field(1e-6, ge=0, description="added to the std before dividing")


class Grpo(base.Algorithm):
    name = "grpo"
    title = "Group relative policy optimization"
    paper = "arXiv 2402.03300, §4.1.2"
    formula = (
        "Â = (r − mean r) / (std r + ε_std)    over the group\n"
        "L = −mean_rows mean_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + β·k3"
    )
    aggregation = "seq-mean-token-mean"
    Settings = GrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-4},
        "verl": {"beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-6},
        "openrlhf": {"beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-9},
    }

    def credit(self, batch: Batch) -> Credit:
        s = self.settings
        advantage = batch.reward - group_mean(batch.reward, batch.group)
        if s.scale == "std":
            advantage = advantage / (group_std(batch.reward, batch.group, s.ddof) + s.std_epsilon)
        return Credit(advantage[:, None] * batch.mask)

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        s = self.settings
        ratio = token_ratio(batch, now)
        surrogate, clipped = clipped_surrogate(ratio, credit.advantage, s.clip_low, s.clip_high)
        terms = {"policy": -aggregate(surrogate, batch.mask, s.aggregation, whole)}
        if s.beta > 0 and batch.ref_logp is not None:
            kl = kl_estimate(now.logp, batch.ref_logp, s.kl_estimator)
            terms["kl"] = s.beta * aggregate(kl, batch.mask, s.aggregation, whole)
        return Loss(terms, ratio, clipped)
