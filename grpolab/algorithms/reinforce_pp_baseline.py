"""REINFORCE++ with the group mean as baseline: rewards centred by group, scaled by the batch.

Paper    Hu 2025, REINFORCE++, arXiv 2501.03262, §3 (the w/ baseline variant)
Formula  Â_i = whiten(r_i − mean r)      mean over the group, whitened over all tokens of the batch
         L = −mean_t min(ρÂ, clip(ρ, 1−ε, 1+ε)Â) + β mean_t k2
Differs  how the std is taken: see reinforce++.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from grpolab.algorithms.base import Batch
from grpolab.algorithms.clipped import TokenClipped
from grpolab.algorithms.functional import centred, whiten
from grpolab.algorithms.reinforce_pp import ReinforcePpSettings
from grpolab.algorithms.settings import KlEstimator, KlPlace

if TYPE_CHECKING:
    from torch import Tensor


class ReinforcePpBaselineSettings(ReinforcePpSettings):
    kl_place: KlPlace = "loss"
    kl_estimator: KlEstimator = "k2"


class ReinforcePpBaseline(TokenClipped):
    name = "reinforce++-baseline"
    title = "REINFORCE++ with a group baseline"
    paper = "arXiv 2501.03262, §3"
    formula = (
        "m = mean_group r\n"
        "Â = whiten_batch(r − m)\n"
        "L = −mean_tokens min(ρ Â, clip(ρ, 1−ε, 1+ε) Â) + β k2"
    )
    lineage = (
        ("reinforce++", "r − m before whitening; the KL as k2 in the loss"),
        ("grpo", "divides by the batch's spread instead of the group's"),
    )
    Settings = ReinforcePpBaselineSettings
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "verl": {"beta": 0.0, "dual_clip": 3.0},
        "openrlhf": {"beta": 0.0, "ddof": 0},
    }

    def advantage(self, batch: Batch) -> Tensor:
        s = self.settings
        above = centred(batch.reward, batch.group)[:, None] * batch.mask
        return whiten(above, batch.mask, s.ddof, s.std_epsilon)
