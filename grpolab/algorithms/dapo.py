"""DAPO: GRPO with a higher upper clip, dynamic sampling, a token mean and a soft length penalty.

Paper    Yu et al. 2025, DAPO, arXiv 2503.14476, §3, eq. 8 to 13
Formula  r ← r − clip((|o| − (L_max − L_cache)) / L_cache, 0, 1)      before `advantage` is called
         Â_i = (r_i − m) / s      m, s: mean and std over the group; groups with s = 0 are resampled
         J = 1/Σ|o_i| Σ_i Σ_t min(ρ_t Â, clip(ρ_t, 1−ε_low, 1+ε_high) Â)
Differs  groups of equal reward are sampled again at most `resample` times; those that are left then
         stay in the batch, with Â = 0. L_cache is `overlong_buffer` · max_tokens (paper: 4096 of
         20480). The paper does not say which std: ddof 0 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

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
from grpolab.algorithms.functional import clipped_surrogate, standardised, token_ratio
from grpolab.algorithms.settings import (
    Aggregation,
    ClipHigh,
    ClipLow,
    Ddof,
    DualClip,
    StdEpsilon,
)

if TYPE_CHECKING:
    from torch import Tensor


class DapoSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.28
    dual_clip: DualClip = None
    aggregation: Aggregation = "token-mean"
    resample: int = Field(
        3, ge=0, description="how often groups of equal reward are replaced (dynamic sampling)"
    )
    overlong_buffer: float = Field(
        0.2, ge=0, le=1, description="last share of max_tokens, over which the length penalty rises"
    )


class Dapo(Algorithm):
    name = "dapo"
    title = "Decoupled clip and dynamic sampling"
    paper = "arXiv 2503.14476, §3"
    formula = (
        "m, s = mean and std of r over the group, 0 < s\n"
        "Â = (r − m) / s\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â)"
    )
    lineage = (("grpo", "clip-higher, token mean, dynamic sampling, soft length limit, no KL"),)
    group_baseline = True
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

    def advantage(self, batch: Batch) -> Tensor:
        cfg, r = self.settings, batch.reward
        return standardised(r, batch.group, cfg.ddof, cfg.std_epsilon)  # Â = (r − m) / (s + ε)

    def objective(self, batch: Batch, credit: Credit, now: Forward) -> Objective:
        cfg, advantage = self.settings, credit.advantage
        rho = token_ratio(batch, now)  # ρ_t = π / π_old
        surrogate, clipped = clipped_surrogate(  # min(ρ Â, clip(ρ, 1−ε_low, 1+ε_high) Â)
            rho, advantage, cfg.clip_low, cfg.clip_high, cfg.dual_clip
        )
        return Objective(surrogate, rho, clipped)

    def branch(self, token: TokenFacts) -> Branch:
        cfg = self.settings
        return clipped_branch(token, token.ratio, cfg.clip_low, cfg.clip_high, cfg.dual_clip)
