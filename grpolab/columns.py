"""How a lane keeps the numbers of its finished steps: the one place of the curves that knows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Literal

from grpolab.events import StepDone
from grpolab.state import LabState, LaneState

Axis = Literal["step", "update", "sample", "token", "time"]
AXES: tuple[Axis, ...] = ("step", "update", "sample", "token", "time")

STEPS: dict[str, tuple[str, Callable[[StepDone], float]]] = {
    "step seconds": ("time of a step: rollout, scoring, update", lambda s: sum(s.seconds.values())),
    "step tokens": ("answer tokens sampled in a step", lambda s: float(s.tokens)),
    "step memory": ("bytes in use at the step's peak", lambda s: float(sum(s.memory.values()))),
}
"""Curves beside the metrics, each with its hint."""


class Columns:
    """Numbers by step. `generation` changes where some that were there are gone, as by a resume."""

    def __init__(self, state: LabState, lane: LaneState) -> None:
        self.state, self.lane = state, lane
        self.generation = 0
        self._forget()

    def _forget(self) -> None:
        self.generation += 1
        self._seen = 0
        self._last: tuple[int, str, str] | None = None
        self._found: dict[str, tuple[array[int], array[float]]] = {}  # rows and values
        self._axes: dict[Axis, array[float]] = {a: array("d") for a in AXES}

    def refresh(self) -> None:
        """Take in what was finished since the last time; after a resume, all of it again."""
        steps = self.lane.steps
        if len(steps) < self._seen or (self._seen and _mark(steps[self._seen - 1]) != self._last):
            self._forget()
        for row in range(self._seen, len(steps)):
            done = steps[row]
            more = {name: of(done) for name, (_, of) in STEPS.items()}
            for name, value in (done.metrics | more).items():
                rows, values = self._found.setdefault(name, (array("l"), array("d")))
                rows.append(row)
                values.append(value)
            for axis, by in self._advance(done).items():
                xs = self._axes[axis]
                xs.append(by if axis == "step" else by + (xs[-1] if xs else 0.0))
            self._seen = row + 1
        self._last = _mark(steps[self._seen - 1]) if self._seen else None

    def _advance(self, s: StepDone) -> dict[Axis, float]:
        """How far a step goes along each axis; of the step itself, where it is."""
        prompts, group = self._shape(s.step)
        answers = (prompts + s.metrics.get("groups_replaced", 0.0)) * group
        return {
            "step": float(s.step), "update": float(s.updates), "sample": answers,
            "token": float(s.tokens), "time": sum(s.seconds.values()),
        }  # fmt: skip

    def _shape(self, step: int) -> tuple[float, float]:
        """Prompts and answers to each, as they were set in a step."""
        section = self.state.run.scenario.get("rollout") if self.state.run else None
        known = dict(section) if isinstance(section, dict) else {}
        for change in self.lane.changes:
            if change.step < step and change.key.startswith("rollout."):
                known[change.key.removeprefix("rollout.")] = change.after
        return float(known.get("prompts") or 0), float(known.get("group_size") or 0)

    def __len__(self) -> int:
        return self._seen

    def names(self) -> list[str]:
        """Everything that some step measured."""
        return list(self._found)

    def axis(self, name: Axis) -> Sequence[float]:
        """Each step's place on an axis. Not to be changed."""
        return self._axes[name]

    def count(self, name: str) -> int:
        """How many steps measured it."""
        return len(self._found[name][0]) if name in self._found else 0

    def series(self, name: str, axis: Axis, start: int = 0) -> tuple[list[float], list[float]]:
        """x and values of the measurements from the `start`-th on, be they no numbers."""
        if name not in self._found:
            return [], []
        rows, values = self._found[name]
        xs = self._axes[axis]
        return [xs[row] for row in rows[start:]], values[start:].tolist()


def _mark(s: StepDone) -> tuple[int, str, str]:
    """By what a step is known again; after a resume another one may have its number."""
    return s.step, s.digest, repr(s.metrics)
