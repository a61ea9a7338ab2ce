"""The state behind REINFORCE's moving-average baseline."""

from __future__ import annotations

from grpolab.algorithms.base import Algorithm, Batch, Report, Settings


class Baselined(Algorithm):
    """Keeps `moving`, the moving average of rewards. Its settings have `baseline` and `decay`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.moving: float | None = None  # starts as the first rollout's mean

    def observe(self, batch: Batch, report: Report) -> None:
        """b ← d·b + (1 − d)·mean r, after the step's updates."""
        mean, d = float(self.shape(batch).reward.mean()), self.settings.decay
        super().observe(batch, report)
        self.moving = mean if self.moving is None else d * self.moving + (1 - d) * mean

    def state(self) -> dict[str, float]:
        return super().state() | ({} if self.moving is None else {"moving": self.moving})

    def load_state(self, state: dict[str, float]) -> None:
        super().load_state(state)
        self.moving = state.get("moving")
