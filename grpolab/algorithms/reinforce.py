"""REINFORCE: push up what did better than a baseline.

Paper    Williams 1992, Simple statistical gradient-following algorithms, §4 and §5
Formula  Â_i = r_i − b              b: the batch mean, a moving average of past rewards, or 0
         L = −1/N Σ_i Σ_t Â_i log π(token)
Differs  several updates from one rollout are allowed; `importance` then weights each token by ρ_t,
         which is `is-pg`.
"""

from __future__ import annotations

from pydantic import Field

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, Settings, TokenFacts
from grpolab.algorithms.baseline import Baselined
from grpolab.algorithms.explain import clipped_branch, weighted
from grpolab.algorithms.functional import token_ratio
from grpolab.algorithms.settings import Aggregation, Baseline, Decay


class ReinforceSettings(Settings):
    baseline: Baseline = "batch"
    decay: Decay = 0.9
    importance: bool = Field(
        False, description="weight tokens by ρ when a rollout is used more than once"
    )
    aggregation: Aggregation = "seq-mean-token-sum"


class Reinforce(Baselined):
    name = "reinforce"
    title = "REINFORCE with a baseline"
    paper = "Williams 1992"
    formula = "Â = r − b\nL = −mean_rows Σ_t Â log π"
    learning_rate = 8e-4  # nothing holds its second update back, so it takes smaller ones
    Settings = ReinforceSettings

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        ratio = token_ratio(batch, now)
        weight = ratio if self.settings.importance else now.logp
        return Objective(credit.advantage * weight, ratio)

    def branch(self, token: TokenFacts) -> Branch:
        if self.settings.importance:
            return clipped_branch(token, token.ratio, None, None)
        return weighted(1.0, token, "log π is weighted with Â alone; the ratio plays no part")
