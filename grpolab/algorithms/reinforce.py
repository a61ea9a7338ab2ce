"""REINFORCE: raise the log-probability of answers that did better than a baseline.

Paper    Williams 1992, Simple statistical gradient-following algorithms, §4 and §5
Formula  Â_i = r_i − b              b: the batch mean, a moving average of past rewards, or 0
         L = −1/N Σ_i Σ_t Â_i log π(token)
Differs  several updates per rollout are allowed. With `importance`, ρ_t replaces log π(token), as
         in `is-pg`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, Settings, TokenFacts
from grpolab.algorithms.baseline import Baselined
from grpolab.algorithms.explain import clipped_branch, weighted
from grpolab.algorithms.functional import batch_centred, token_ratio
from grpolab.algorithms.settings import Aggregation, Baseline, Decay

if TYPE_CHECKING:
    from torch import Tensor


class ReinforceSettings(Settings):
    baseline: Baseline = "batch"
    decay: Decay = 0.9
    importance: bool = Field(
        False, description="weight tokens by ρ when a rollout is used more than once"
    )
    aggregation: Aggregation = "seq-mean-token-sum"


class Reinforce(Baselined):
    name = "reinforce"
    kind = "no critic"
    title = "REINFORCE with a baseline"
    paper = "Williams 1992"
    formula = "Â = r − b\nL = −mean_rows Σ_t Â log π"
    learning_rate = 8e-4  # its second update has no clip and no ratio: smaller steps
    Settings = ReinforceSettings

    def advantage(self, batch: Batch) -> Tensor:
        r, b = batch.reward, self.settings.baseline
        if b == "none":
            return r
        if b == "moving" and self.moving is not None:
            return r - self.moving  # Â = r − b, b the moving average
        return batch_centred(r)  # Â = r − b, b = mean r; also before a moving average exists

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        advantage, rho = credit.advantage, token_ratio(batch, now)
        if self.settings.importance:
            return Objective(advantage * rho, rho)
        return Objective(advantage * now.logp, rho)  # Â log π

    def branch(self, token: TokenFacts) -> Branch:
        if self.settings.importance:
            return clipped_branch(token, token.ratio, None, None)
        return weighted(1.0, token, "log π is weighted with Â alone; the ratio plays no part")
