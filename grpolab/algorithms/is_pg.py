"""Off-policy policy gradient: importance weights let a rollout be used again, without any clip.

Paper    importance sampling (Precup et al. 2000; 1506.02438 §6, the surrogate of 1502.05477 eq. 14)
Formula  Â_i = r_i − b
         L = −1/N Σ_i Σ_t ρ_t Â_i         ρ_t = π(token)/π_old(token)
Differs  each token has its own ratio, the first-order approximation of the product over the
         answer, as TRPO and PPO take it; nothing bounds it, so a rollout used often falls apart.
"""

from __future__ import annotations

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, Settings, TokenFacts
from grpolab.algorithms.baseline import Baselined
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import token_ratio
from grpolab.algorithms.settings import Aggregation, Baseline, Decay


class IsPgSettings(Settings):
    baseline: Baseline = "batch"
    decay: Decay = 0.9
    aggregation: Aggregation = "seq-mean-token-sum"


class IsPg(Baselined):
    name = "is-pg"
    title = "Policy gradient with importance weights"
    paper = "Precup et al. 2000; arXiv 1502.05477, eq. 14"
    formula = "Â = r − b\nL = −mean_rows Σ_t ρ Â"
    lineage = (("reinforce", "log π becomes the ratio ρ, so that a rollout can be used again"),)
    learning_rate = 8e-4
    Settings = IsPgSettings

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        ratio = token_ratio(batch, now)
        return Objective(ratio * credit.advantage, ratio)

    def branch(self, token: TokenFacts) -> Branch:
        return clipped_branch(token, token.ratio, None, None)
