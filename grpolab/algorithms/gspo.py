"""GSPO: the whole answer has one ratio, and is clipped as one.

Paper    Zheng et al. 2025, GSPO, arXiv 2507.18071, §4.1, eq. 5 to 7
Formula  Â_i = (r_i − mean r) / std r
         s_i = (π(answer)/π_old(answer))^(1/|o_i|)  =  exp(mean_t log ρ_t)
         J = 1/G Σ_i min(s_i Â_i, clip(s_i, 1−ε_low, 1+ε_high) Â_i)
Differs  nothing. The clip is narrow because s hardly leaves 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from grpolab.algorithms.base import Batch, Branch, Credit, Forward, Objective, TokenFacts
from grpolab.algorithms.explain import clipped_branch
from grpolab.algorithms.functional import clipped_surrogate, sequence_ratio
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings
from grpolab.algorithms.settings import ClipHigh, ClipLow, DualClip


class GspoSettings(GroupNormedSettings):
    clip_low: ClipLow = 3e-4
    clip_high: ClipHigh = 4e-4
    dual_clip: DualClip = None


class Gspo(GroupNormed):
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
    Settings = GspoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"ddof": 1, "std_epsilon": 1e-4},
        "verl": {"ddof": 1, "std_epsilon": 1e-6},
        "openrlhf": {"ddof": 1, "std_epsilon": 1e-9},
    }

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        s = self.settings
        ratio = sequence_ratio(batch, now)
        gain, clipped = clipped_surrogate(
            ratio, credit.advantage[:, :1], s.clip_low, s.clip_high, s.dual_clip
        )
        return Objective(gain, ratio, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        s, share = self.settings, 1 / max(token.length, 1)
        return clipped_branch(
            token, token.sequence_ratio, s.clip_low, s.clip_high, s.dual_clip,
            share=share, symbol="ρ_seq",
        )  # fmt: skip
