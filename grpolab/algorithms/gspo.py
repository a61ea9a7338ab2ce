"""GSPO: one importance ratio and one clip for the whole answer.

Paper    Zheng et al. 2025, GSPO, arXiv 2507.18071, §4.1, eq. 5 to 7
Formula  Â_i = (r_i − m) / s                       m, s: mean and std of r over the group
         ρ_seq = (π(answer)/π_old(answer))^(1/|o_i|) = exp(1/|o_i| Σ_t log ρ_t)     s_i in the paper
         J = 1/G Σ_i min(ρ_seq Â_i, clip(ρ_seq, 1−ε_low, 1+ε_high) Â_i)
Differs  the paper does not say which std: ddof 0 here. ε_low = 3e-4 and ε_high = 4e-4 are those of
         its §5.1: narrow, because a geometric mean stays close to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

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
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, sequence_ratio, standardised
from grpolab.algorithms.settings import ClipHigh, ClipLow, Ddof, DualClip, StdEpsilon

if TYPE_CHECKING:
    from torch import Tensor


class GspoSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    clip_low: ClipLow = 3e-4
    clip_high: ClipHigh = 4e-4
    dual_clip: DualClip = None


class Gspo(Algorithm):
    name = "gspo"
    title = "Group sequence policy optimization"
    paper = "arXiv 2507.18071, §4.1"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows min(ρ_seq Â, clip(ρ_seq, 1−ε_low, 1+ε_high) Â)"
    )
    lineage = (("grpo", "one ratio for the whole answer, a very narrow clip, no KL"),)
    aggregation = "sequence-mean"
    group_baseline = True
    Settings = GspoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
        "openrlhf": {"ddof": 1, "std_epsilon": 1e-9},
    }

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage[:, :1]  # [n, 1]: the same in all tokens
        rho_seq = sequence_ratio(batch, now)  # ρ_seq = exp(1/|o| Σ_t log ρ_t)
        surrogate, clipped = clipped_surrogate(  # min(ρ_seq Â, clip(ρ_seq, 1−ε_low, 1+ε_high) Â)
            rho_seq, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho_seq, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg, share = self.settings, 1 / max(token.length, 1)  # ∂log ρ_seq/∂log π of one token
        return clipped_branch(
            token, token.sequence_ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip,
            share=share, symbol="ρ_seq",
        )  # fmt: skip
