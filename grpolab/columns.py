"""How a lane keeps the numbers of its finished steps: the one place of the curves that knows."""

from __future__ import annotations

from collections.abc import Sequence

from grpolab.history import AXES, Axis
from grpolab.lane_state import LaneState
from grpolab.state import LabState
from grpolab.table import Column

__all__ = ["AXES", "STEPS", "Axis", "Columns"]

STEPS = {
    "step seconds": "time of a step: rollout, scoring, update",
    "step tokens": "answer tokens sampled in a step",
    "step memory": "bytes in use at the step's peak",
}
"""Curves beside the metrics, each with its hint."""


class Columns:
    """Numbers by step. `generation` changes where some that were there are gone, as by a resume."""

    def __init__(self, state: LabState, lane: LaneState) -> None:
        self.lane = lane
        self.generation = 0
        self._known: object = None

    def refresh(self) -> None:
        """Notice whether the history was cut."""
        now = self.lane.axis("step")  # a new array once it is
        if now is not self._known:
            self.generation += 1
            self._known = now

    def __len__(self) -> int:
        return len(self.lane.steps)

    def names(self) -> list[str]:
        """Everything that some step measured."""
        return [*self.lane.steps.metrics, *(STEPS if len(self) else ())]

    def axis(self, name: Axis) -> Sequence[float]:
        """Each step's place on an axis. Not to be changed."""
        return self.lane.axis(name)

    def count(self, name: str) -> int:
        """How many steps measured it."""
        if name in STEPS:
            return len(self)
        column = self.lane.steps.metrics.get(name)
        return len(column.values) if column is not None else 0

    def series(self, name: str, axis: Axis, start: int = 0) -> tuple[list[float], list[float]]:
        """x and values of the measurements from the `start`-th on, be they no numbers."""
        if name in STEPS:
            rows = range(start, len(self))
            return [self.axis(axis)[row] for row in rows], [self._of(name, row) for row in rows]
        xs, values = self.lane.series(name, axis)
        return xs[start:].tolist(), values[start:].tolist()

    def _of(self, name: str, row: int) -> float:
        steps = self.lane.steps
        if name == "step tokens":
            so_far = self.lane.axis("token")
            return float(so_far[row] - (so_far[row - 1] if row else 0))
        columns = steps.seconds if name == "step seconds" else steps.memory
        return total(columns, row)


def total(columns: dict[str, Column], row: int) -> float:
    """All columns of a row together."""
    return sum(column.at(row) or 0.0 for column in columns.values())
