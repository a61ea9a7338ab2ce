"""ReMax: the greedy answer's reward is the baseline.

Paper    Li et al. 2023, ReMax, arXiv 2310.10505, §4, Algorithm 1
Formula  Â_t = Σ_{u ≥ t} r_u − r(greedy answer)     r_u: −β·k1, and the answer's reward at its end
         L = −1/N Σ_i Σ_t Â_t log π(token)
Differs  the KL in the reward counts from its token on, as in verl; the authors' code counts each
         token's KL at that token alone, clips r − b at ±5, discounts, and takes a token mean.
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
    formula = "b = r of the greedy answer\nÂ = Σ_later r_t − b\nL = −mean_rows Σ_t Â log π"
    lineage = (("reinforce", "the baseline is the greedy answer's reward: it knows the prompt"),)
    learning_rate = 8e-4
    Settings = RemaxSettings

    @property
    def needs_greedy(self) -> bool:
        return True

    def advantage(self, batch: Batch) -> Tensor:
        assert batch.greedy_reward is not None and batch.token_reward is not None
        return reward_to_go(batch.token_reward, batch.mask) - batch.greedy_reward[:, None]

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        return Objective(credit.advantage * now.logp, token_ratio(batch, now))

    def branch(self, token: TokenFacts) -> Branch:
        return weighted(1.0, token, "log π is weighted with Â alone; the ratio plays no part")
