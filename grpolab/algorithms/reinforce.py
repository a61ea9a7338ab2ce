"""REINFORCE: push up what did better than a baseline.

Paper    Williams 1992, Simple statistical gradient-following algorithms, §4 and §5
Formula  Â_i = r_i − b              b: the batch mean, a moving average of past rewards, or 0
         L = −1/N Σ_i Σ_t Â_i log π(token)
Differs  several updates from one rollout are allowed; `importance` then weights each token by ρ_t,
         and the gradient is that of an off-policy REINFORCE without clipping. β > 0 adds β·KL.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from grpolab.algorithms import base
from grpolab.algorithms.base import Batch, Credit, Forward, Loss, Report, Whole, token_ratio
from grpolab.algorithms.pieces import Aggregation, KlEstimator, aggregate, kl_estimate


class ReinforceSettings(base.Settings):
    baseline: Literal["none", "batch", "moving"] = Field(
        "batch", description="what a reward is compared with"
    )
    decay: float = Field(0.9, ge=0, lt=1, description="memory of the moving baseline")
    importance: bool = Field(
        False, description="weight tokens by ρ when a rollout is used more than once"
    )
    beta: float = Field(
        0.0, ge=0, description="weight of the KL against the reference, in the loss"
    )
    kl_estimator: KlEstimator = Field("k3", description="which estimate of that KL")
    aggregation: Aggregation = Field(
        "seq-mean-token-sum", description="how token losses become one number"
    )


class Reinforce(base.Algorithm):
    name = "reinforce"
    title = "REINFORCE with a baseline"
    paper = "Williams 1992"
    formula = "Â = r − b    b: batch mean, moving average, or none\nL = −mean_rows Σ_t Â log π"
    aggregation = "seq-mean-token-sum"
    learning_rate = 8e-4  # nothing holds its second update back, so it takes smaller ones
    Settings = ReinforceSettings

    def __init__(self, settings: base.Settings) -> None:
        super().__init__(settings)
        self.moving: float | None = None

    def baseline(self, batch: Batch) -> float:
        """b of this rollout. The moving average starts at the first rollout's mean."""
        if self.settings.baseline == "none":
            return 0.0
        if self.settings.baseline == "moving" and self.moving is not None:
            return self.moving
        return float(batch.reward.mean())

    def credit(self, batch: Batch) -> Credit:
        return Credit((batch.reward - self.baseline(batch))[:, None] * batch.mask)

    def loss(self, batch: Batch, credit: Credit, now: Forward, whole: Whole) -> Loss:
        s = self.settings
        ratio = token_ratio(batch, now)
        surrogate = credit.advantage * (ratio if s.importance else now.logp)
        terms = {"policy": -aggregate(surrogate, batch.mask, s.aggregation, whole)}
        if s.beta > 0 and batch.ref_logp is not None:
            kl = kl_estimate(now.logp, batch.ref_logp, s.kl_estimator)
            terms["kl"] = s.beta * aggregate(kl, batch.mask, s.aggregation, whole)
        return Loss(terms, ratio)

    def observe(self, batch: Batch, report: Report) -> None:
        mean, d = float(batch.reward.mean()), self.settings.decay
        self.moving = mean if self.moving is None else d * self.moving + (1 - d) * mean

    def state(self) -> dict[str, float]:
        return {} if self.moving is None else {"moving": self.moving}

    def load_state(self, state: dict[str, float]) -> None:
        self.moving = state.get("moving")
