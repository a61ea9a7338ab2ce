"""ReMax: the greedy answer's reward is the baseline.

Paper    Li et al. 2023, ReMax, arXiv 2310.10505, §4, Algorithm 1
Formula  r_t = −β·k1_t, plus the answer's reward at its last token      made by `shape` in base.py
         Â_t = (Σ_{u ≥ t} r_u) − b                  b: reward of the greedy answer to the prompt
         L = −1/N Σ_i Σ_t Â_t log π(token)
Differs  a token's Â contains the KL of its own and all later tokens, as in verl; the authors' code
         gives each token its own KL only, clips r − b to ±5, discounts, and takes a token mean.
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
from grpolab.algorithms.functional import reward_to_go, token_ratio
from grpolab.algorithms.settings import Aggregation, KlEstimator, KlPlace

if TYPE_CHECKING:
    from torch import Tensor


class RemaxSettings(Settings):
    kl_place: KlPlace = "reward"
    kl_estimator: KlEstimator = "k1"
    aggregation: Aggregation = "seq-mean-token-sum"


class Remax(Algorithm):
    name = "remax"
    title = "REINFORCE with the greedy answer as baseline"
    paper = "arXiv 2310.10505, Algorithm 1"
    formula = "b = r of the greedy answer\nÂ = (Σ_later r_t) − b\nL = −mean_rows Σ_t Â log π"
    lineage = (
        ("reinforce", "the baseline is the greedy answer's reward, so it depends on the prompt"),
    )
    learning_rate = 8e-4
    Settings = RemaxSettings

    @property
    def needs_greedy(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor:
        r, b = batch.token_reward, batch.greedy_reward
        assert r is not None and b is not None
        return reward_to_go(r, batch.mask) - b[:, None]  # Â_t = Σ_{u ≥ t} r_u − b

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        return Objective(credit.advantage * now.logp, token_ratio(batch, now))  # Â log π

    def branch(self, token: TokenFacts) -> Branch:
        return weighted(1.0, token, "log π is weighted with Â alone; the ratio plays no part")
