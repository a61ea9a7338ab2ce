"""The group-relative advantage (r − m)/(s + ε) that GRPO brought and many keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.algorithms.base import Algorithm, Batch, Settings
from grpolab.algorithms.functional import standardised
from grpolab.algorithms.settings import Ddof, StdEpsilon

if TYPE_CHECKING:
    from torch import Tensor


class GroupNormedSettings(Settings):
    ddof: Ddof = 0
    std_epsilon: StdEpsilon = 0.0


class GroupNormed(Algorithm):
    """Â = (r − m)/(s + ε), m and s over the answers to one prompt (2402.03300 §4.1.2). The papers
    have no ε; where s is 0, so is Â."""

    def advantage(self, batch: Batch) -> Tensor:
        s = self.settings
        return standardised(batch.reward, batch.group, s.ddof, s.std_epsilon)
