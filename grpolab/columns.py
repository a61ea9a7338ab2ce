"""How a lane keeps the numbers of its finished steps: the one place of the curves that knows."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Any

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

    def axis(self, name: Axis) -> array[Any]:
        """Each step's place on an axis. Not to be changed."""
        return self.lane.axis(name)

    def count(self, name: str) -> int:
        """How many steps measured it."""
        if name in STEPS:
            return len(self)
        column = self.lane.steps.metrics.get(name)
        return len(column) if column is not None else 0

    def series(self, name: str, axis: Axis, start: int = 0) -> tuple[list[float], list[float]]:
        """x and values of the measurements from the `start`-th on, be they no numbers."""
        steps = self.lane.steps
        if name in STEPS:
            return self.axis(axis)[start:].tolist(), self._of(name, start).tolist()
        column = steps.metrics[name]
        return steps.places(column, axis, start).tolist(), column.part(start).tolist()

    def _of(self, name: str, start: int) -> array[float]:
        steps = self.lane.steps
        columns = {
            "step seconds": steps.seconds, "step memory": steps.memory,
            "step tokens": {"token": steps.counts["token"]},
        }  # fmt: skip
        return totals(columns[name], start, len(self))


def totals(columns: dict[str, Column], start: int, stop: int) -> array[float]:
    """All columns together, in each of these rows."""
    found = array("d", bytes(8 * max(0, stop - start)))
    for column in list(columns.values()):
        a, b = bisect_left(column.rows, start), bisect_left(column.rows, stop)
        for row, value in zip(column.rows[a:b], column.part(a, b), strict=True):
            found[row - start] += value
    return found
