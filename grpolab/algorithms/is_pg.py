"""Off-policy policy gradient: importance weights allow several updates per rollout, without a clip.

Paper    importance sampling (Precup et al. 2000; 1506.02438 §6, the surrogate of 1502.05477 eq. 14)
Formula  Â_i = r_i − b              b: the batch mean, a moving average of past rewards, or 0
         L = −1/N Σ_i Σ_t ρ_t Â_i           ρ_t = π(token)/π_old(token)
Differs  each token has its own ratio, the first-order approximation of the product over the
         answer, as in TRPO and PPO. Nothing bounds it: many updates per rollout diverge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, Settings, TokenFacts
from grpolab.algorithms.baseline import Baselined
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import batch_centred, token_ratio
from grpolab.algorithms.settings import Aggregation, Baseline, Decay

if TYPE_CHECKING:
    from torch import Tensor


class IsPgSettings(Settings):
    baseline: Baseline = "batch"
    decay: Decay = 0.9
    aggregation: Aggregation = "seq-mean-token-sum"


class IsPg(Baselined):
    name = "is-pg"
    kind = "no critic"
    title = "Policy gradient with importance weights"
    paper = "Precup et al. 2000; arXiv 1502.05477, eq. 14"
    formula = "Â = r − b\nL = −mean_rows Σ_t ρ Â"
    lineage = (("reinforce", "log π becomes the ratio ρ, so that a rollout can be used again"),)
    learning_rate = 8e-4
    Settings = IsPgSettings

    def advantage(self, batch: Batch) -> Tensor:
        r, b = batch.reward, self.settings.baseline
        if b == "none":
            return r
        if b == "moving" and self.moving is not None:
            return r - self.moving  # Â = r − b, b the moving average
        return batch_centred(r)  # Â = r − b, b = mean r; also before a moving average exists

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        advantage, rho = credit.advantage, token_ratio(batch, now)
        return Objective(rho * advantage, rho)  # ρ Â, not clipped

    def branch(self, token: TokenFacts) -> Branch:
        return clipped_branch(token, token.ratio, None, None)
