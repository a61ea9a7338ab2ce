"""RAFT: maximize the likelihood of the best answers of each group.

Paper    Dong et al. 2023, RAFT, arXiv 2304.06767, Algorithm 1
Formula  Â_i = 1 for the answers with the highest reward of their group, 0 for the others
         L = −mean_t Â_i log π(token)
Differs  the paper keeps one best answer; here all that share the highest reward count, and the
         mean is over all tokens of the batch. In a group where every answer is wrong, wrong answers
         are imitated.
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
from grpolab.algorithms.functional import group_extreme, token_ratio
from grpolab.algorithms.settings import Aggregation

if TYPE_CHECKING:
    from torch import Tensor


class RaftSettings(Settings):
    aggregation: Aggregation = "token-mean"


class Raft(Algorithm):
    name = "raft"
    title = "Best-of-n imitation"
    paper = "arXiv 2304.06767"
    formula = "Â = 1 if r is the highest of the group, else 0\nL = −mean_tokens Â log π"
    lineage = (("reinforce", "only the best answers count; Â is never negative"),)
    Settings = RaftSettings

    def advantage(self, batch: Batch) -> Tensor:
        r = batch.reward
        return (r == group_extreme(r, batch.group, "amax")).to(
            r.dtype
        )  # Â = 1 if r = max r, else 0

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        return Objective(credit.advantage * now.logp, token_ratio(batch, now))  # Â log π

    def branch(self, token: TokenFacts) -> Branch:
        why = "a best answer of its group: imitated" if token.advantage else "not among the best"
        return weighted(1.0, token, why)
