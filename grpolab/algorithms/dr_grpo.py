"""Dr. GRPO: GRPO done right, without its two biases: no division by the std, none by the length.

Paper    Liu et al. 2025, Understanding R1-Zero-Like Training, arXiv 2503.20783, §3.1
Formula  Â_i = r_i − mean r
         J = 1/G Σ_i 1/L_max Σ_t min(ρ_t Â, clip(ρ_t, 1−ε, 1+ε) Â)
Differs  nothing: the paper's code divides by the longest answer allowed, a constant, and so does
         this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.base import Batch, Settings
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.functional import centred
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, DualClip

if TYPE_CHECKING:
    from torch import Tensor


class DrGrpoSettings(Settings):
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    aggregation: Aggregation = "seq-mean-token-sum-norm"


class DrGrpo(TokenClipped):
    name = "dr-grpo"
    title = "GRPO done right"
    paper = "arXiv 2503.20783, §3.1"
    formula = (
        "m = mean of r over the group\n"
        "Â = r − m\n"
        "L = −mean_rows 1/L_max Σ_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)"
    )
    lineage = (("grpo", "no division by the std, 1/L_max instead of 1/|o|, no KL"),)
    Settings = DrGrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {"kl_estimator": "unbiased"},
        "verl": {"dual_clip": 3.0},
        "openrlhf": {"aggregation": "token-mean"},
    }

    def advantage(self, batch: Batch) -> Tensor:
        return centred(batch.reward, batch.group)
