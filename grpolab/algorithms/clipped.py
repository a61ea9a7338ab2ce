"""The objective that most of the line shares: the clipped surrogate on each token's ratio."""

from __future__ import annotations

from grpolab.algorithms.base import Algorithm, Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, token_ratio


class TokenClipped(Algorithm):
    """min(ρ_t Â_t, clip(ρ_t, 1−ε_low, 1+ε_high) Â_t), 1707.06347 eq. 7. Its settings have
    `clip_low`, `clip_high` and `dual_clip`."""

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        s = self.settings
        ratio = token_ratio(batch, now)
        gain, clipped = clipped_surrogate(
            ratio, credit.advantage, s.clip_low, s.clip_high, s.dual_clip
        )
        return Objective(gain, ratio, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        s = self.settings
        return clipped_branch(token, token.ratio, s.clip_low, s.clip_high, s.dual_clip)
