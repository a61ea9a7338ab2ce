"""GSPO-token: the answer's ratio decides about clipping, each token keeps its own advantage.

Paper    Zheng et al. 2025, GSPO, arXiv 2507.18071, §4.3, eq. 13 and 14
Formula  s_i,t = sg(s_i) · π(token)/sg(π(token))       value s_i, gradient of the token
         J = 1/G Σ_i 1/|o_i| Σ_t min(s_i,t Â_i,t, clip(s_i,t, 1−ε_low, 1+ε_high) Â_i,t)
Differs  nothing. With one advantage for a whole answer it equals GSPO, value and gradient.
"""

from __future__ import annotations

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, sequence_ratio
from grpolab.algorithms.group_normed import GroupNormed
from grpolab.algorithms.gspo import GspoSettings
from grpolab.algorithms.settings import Aggregation


class GspoTokenSettings(GspoSettings):
    aggregation: Aggregation = "seq-mean-token-mean"


class GspoToken(GroupNormed):
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
    Settings = GspoTokenSettings

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        s = self.settings
        own = ((now.logp - now.logp.detach()) * batch.mask).exp()  # 1, with the token's gradient
        ratio = sequence_ratio(batch, now).detach() * own
        gain, clipped = clipped_surrogate(
            ratio, credit.advantage, s.clip_low, s.clip_high, s.dual_clip
        )
        return Objective(gain, ratio, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        s = self.settings
        return clipped_branch(
            token, token.sequence_ratio, s.clip_low, s.clip_high, s.dual_clip, symbol="ρ_seq"
        )
