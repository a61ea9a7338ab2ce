"""MaxRL: dividing by the mean reward turns expected reward into likelihood of success.

Paper    Tajwar et al. 2026, Maximum Likelihood Reinforcement Learning, arXiv 2602.02710
Formula  Â_i = (r_i − mean r) / mean r       over the group; 0 where the mean is 0
         L = −mean_t min(ρÂ, clip(ρ, 1−ε, 1+ε)Â)
Differs  for more than one update per rollout PPO's clip holds the ratio. A mean that is not
         positive gives no advantage: rewards are taken for probabilities of success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.algorithms.base import Batch, Settings
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.functional import centred, group_mean
from grpolab.algorithms.settings import Aggregation, ClipHigh, ClipLow, DualClip

if TYPE_CHECKING:
    from torch import Tensor


class MaxRlSettings(Settings):
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    aggregation: Aggregation = "token-mean"


class MaxRl(TokenClipped):
    name = "maxrl"
    title = "Maximum likelihood RL"
    paper = "arXiv 2602.02710"
    formula = (
        "m = mean of r over the group\n"
        "Â = (r − m) / m\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â)"
    )
    lineage = (("grpo", "divides by the mean instead of the std: hard prompts weigh more"),)
    Settings = MaxRlSettings

    def advantage(self, batch: Batch) -> Tensor:
        mean = group_mean(batch.reward, batch.group)
        return centred(batch.reward, batch.group) / mean.masked_fill(mean <= 0, float("inf"))
