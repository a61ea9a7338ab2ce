"""What a lane keeps of its newest step for whoever looks at it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpolab.algorithms.base import Algorithm, Batch, Credit, Report
from grpolab.tasks import Task

if TYPE_CHECKING:
    from grpolab.engine.gather import Gathered


@dataclass(frozen=True)
class Held:
    """The newest step, as it was judged."""

    step: int
    task: Task
    temperature: float
    algorithm: Algorithm  # as it was when it judged the rollout
    preset: str
    gathered: Gathered
    batch: Batch
    credit: Credit
    report: Report

    def tensors(self) -> list[object]:
        """What of it takes memory on the device."""
        return [self.gathered.rollout, self.batch, self.credit, vars(self.report)]
