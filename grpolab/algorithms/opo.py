"""OPO: exactly on-policy REINFORCE with the baseline of least variance.

Paper    Hao et al. 2025, On-Policy RL with Optimal Reward Baseline, arXiv 2505.23585, eq. 7
Formula  b = Σ_i |o_i| r_i / Σ_i |o_i|          over the group, each answer weighted by its length
         Â_i = r_i − b
         L = −1/N Σ_i Σ_t Â_i log π(token)
Differs  the paper makes one update per rollout; more are allowed here, without a ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from grpolab.algorithms.explain import weighted
from grpolab.algorithms.functional import above_min, group_sum, token_ratio
from grpolab.algorithms.settings import Aggregation

if TYPE_CHECKING:
    from torch import Tensor


class OpoSettings(Settings):
    aggregation: Aggregation = "seq-mean-token-sum"


class Opo(Algorithm):
    name = "opo"
    title = "On-policy RL with the optimal baseline"
    paper = "arXiv 2505.23585, eq. 7"
    formula = "b = Σ_group |o| r / Σ_group |o|\nÂ = r − b\nL = −mean_rows Σ_t Â log π"
    lineage = (("rloo", "the baseline weighs answers by their length, which minimizes variance"),)
    learning_rate = 8e-4
    group_baseline = True
    Settings = OpoSettings

    def advantage(self, batch: Batch) -> Tensor:
        group, length = batch.group, batch.mask.sum(1)  # |o|
        r = above_min(batch.reward, group)  # a constant offset per group leaves r − b as it is
        b = group_sum(length * r, group) / group_sum(length, group)
        return r - b

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        return Objective(credit.advantage * now.logp, token_ratio(batch, now))  # Â log π

    def branch(self, token: TokenFacts) -> Branch:
        return weighted(1.0, token, "log π is weighted with Â alone; the ratio plays no part")
