"""DAPO: GRPO with a higher upper clip, groups that teach, a token mean, and soft length limits.

Paper    Yu et al. 2025, DAPO, arXiv 2503.14476, §3, eq. 8 to 13
Formula  Â_i = (r_i − mean r) / std r        groups of equal reward are sampled again
         J = 1/Σ|o_i| Σ_i Σ_t min(ρ_t Â, clip(ρ_t, 1−ε_low, 1+ε_high) Â)
         r −= ((|o| − (L_max − L_cache)) / L_cache) clipped to [0, 1]
Differs  a rollout is sampled again at most `resample` times; after that groups that teach nothing
         stay in. L_cache is `overlong_buffer` · max_tokens (paper: 4096 of 20480).
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, DualClip


class DapoSettings(GroupNormedSettings):
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.28
    dual_clip: DualClip = None
    aggregation: Aggregation = "token-mean"
    resample: int = Field(
        3, ge=0, description="how often groups of equal reward are replaced (dynamic sampling)"
    )
    overlong_buffer: float = Field(
        0.2, ge=0, le=1, description="share of max_tokens in which a longer answer costs more"
    )


class Dapo(TokenClipped, GroupNormed):
    name = "dapo"
    title = "Decoupled clip and dynamic sampling"
    paper = "arXiv 2503.14476, §3"
    formula = (
        "m, s = mean and std of r over the group, 0 < s\n"
        "Â = (r − m) / s\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â)"
    )
    lineage = (("grpo", "clip-higher, token mean, dynamic sampling, soft length limit, no KL"),)
    Settings = DapoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {
            "kl_estimator": "unbiased", "ddof": 1, "std_epsilon": 1e-4, "resample": 0,
            "overlong_buffer": 0.0,
        },
        "verl": {"ddof": 1, "std_epsilon": 1e-6, "dual_clip": 10.0},
        "openrlhf": {
            "clip_high": 0.27, "ddof": 1, "std_epsilon": 1e-9, "beta": 0.001,
            "overlong_buffer": 0.0,
        },
    }  # fmt: skip

    @property
    def resample(self) -> int:
        return self.settings.resample
