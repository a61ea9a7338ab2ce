"""GSPO-token: the ratio of the whole answer with an advantage per token.

Paper    Zheng et al. 2025, GSPO, arXiv 2507.18071, §4.3, eq. 13 and 14
Formula  Â_i,t = (r_i − m) / s                    m, s: mean and std of r over the group
         ρ′_t = sg(ρ_seq) · π(token)/sg(π(token))        value of ρ_seq, gradient of the token;
         sg: stop-gradient; s_i,t in the paper
         J = 1/G Σ_i 1/|o_i| Σ_t min(ρ′_t Â_i,t, clip(ρ′_t, 1−ε_low, 1+ε_high) Â_i,t)
Differs  which std is taken: see gspo. With one advantage per answer, as here, it equals GSPO in
         value and gradient.
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
    TokenFacts,
)
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, sequence_ratio, standardised
from grpolab.algorithms.gspo import GspoSettings
from grpolab.algorithms.settings import Aggregation

if TYPE_CHECKING:
    from torch import Tensor


class GspoTokenSettings(GspoSettings):
    aggregation: Aggregation = "seq-mean-token-mean"


class GspoToken(Algorithm):
    name = "gspo-token"
    title = "GSPO with advantages per token"
    paper = "arXiv 2507.18071, §4.3"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "ρ′ = ρ_seq, with the gradient of ρ\n"
        "L = −mean_rows 1/|o| Σ_t min(ρ′ Â, clip(ρ′, 1−ε_low, 1+ε_high) Â)"
    )
    lineage = (("gspo", "advantages may differ from token to token"),)
    group_baseline = True
    Settings = GspoTokenSettings

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        own = ((now.logp - now.logp.detach()) * batch.mask).exp()  # π/sg(π): 1, with a gradient
        rho = sequence_ratio(batch, now).detach() * own  # ρ′ = sg(ρ_seq) · π/sg(π)
        surrogate, clipped = clipped_surrogate(  # min(ρ′ Â, clip(ρ′, 1−ε_low, 1+ε_high) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(
            token, token.sequence_ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip, symbol="ρ_seq"
        )
