"""Baselines of the REINFORCE family that do not look at the prompt: batch mean, moving average, or
none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.algorithms.base import Algorithm, Batch, Report, Settings

if TYPE_CHECKING:
    from torch import Tensor


class Baselined(Algorithm):
    """Â = r − b. Its settings have `baseline` and `decay`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.moving: float | None = None  # starts at the first rollout's mean

    def advantage(self, batch: Batch) -> Tensor:
        r, s = batch.reward, self.settings
        if s.baseline == "none":
            return r
        if s.baseline == "moving" and self.moving is not None:
            return r - self.moving
        above = r - r.min()  # equal rewards give exactly 0
        return above - above.mean()

    def observe(self, batch: Batch, report: Report) -> None:
        mean, d = float(self.shape(batch).reward.mean()), self.settings.decay
        super().observe(batch, report)
        self.moving = mean if self.moving is None else d * self.moving + (1 - d) * mean

    def state(self) -> dict[str, float]:
        return super().state() | ({} if self.moving is None else {"moving": self.moving})

    def load_state(self, state: dict[str, float]) -> None:
        super().load_state(state)
        self.moving = state.get("moving")
