"""GRPO with outcome rewards: a group of answers is its own baseline.

Paper    Shao et al. 2024, DeepSeekMath, arXiv 2402.03300, §4.1.2, eq. 3 and 4
Formula  Â_i,t = (r_i − mean r) / std r                        over the G answers to one prompt
         J = 1/G Σ_i 1/|o_i| Σ_t { min(ρ_t Â, clip(ρ_t, 1−ε, 1+ε) Â) − β·k3(π‖π_ref) }
Differs  the paper leaves the std's ddof open: population std (ddof 0) here. Others add an ε to the
         std, `std_epsilon`: see the presets `trl-1.16`, `verl` and `openrlhf` (the last without
         its default KL, which it adds to the advantage). ε may differ below and above 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from grpolab.algorithms.base import Batch
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.functional import centred
from grpolab.algorithms.group_normed import GroupNormed, GroupNormedSettings
from grpolab.algorithms.settings import Aggregation, Beta, ClipHigh, ClipLow, DualClip

if TYPE_CHECKING:
    from torch import Tensor


class GrpoSettings(GroupNormedSettings):
    beta: Beta = 0.04
    clip_low: ClipLow = 0.2
    clip_high: ClipHigh = 0.2
    dual_clip: DualClip = None
    scale: Literal["std", "none"] = Field(
        "std", description="divide the advantage by the group's std, or not"
    )
    aggregation: Aggregation = "seq-mean-token-mean"


class Grpo(TokenClipped, GroupNormed):
    name = "grpo"
    title = "Group relative policy optimization"
    paper = "arXiv 2402.03300, §4.1.2"
    formula = (
        "m, s = mean and std of r over the group\n"
        "Â = (r − m) / s\n"
        "L = −mean_rows 1/|o| Σ_t min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + β k3"
    )
    lineage = (
        ("ppo", "the group's mean and std replace the critic; the KL moves into the loss"),
        ("rloo", "its own reward is in the mean, and the spread of the group divides"),
    )
    Settings = GrpoSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "trl-1.16": {
            "beta": 0.0, "kl_estimator": "unbiased", "aggregation": "token-mean", "ddof": 1,
            "std_epsilon": 1e-4,
        },
        "verl": {
            "beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-6,
            "dual_clip": 3.0,
        },
        "openrlhf": {"beta": 0.0, "aggregation": "token-mean", "ddof": 1, "std_epsilon": 1e-9},
    }  # fmt: skip

    def advantage(self, batch: Batch) -> Tensor:
        if self.settings.scale == "none":
            return centred(batch.reward, batch.group)
        return super().advantage(batch)
