"""A lane's memory by step: the one place that knows how finished steps keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grpolab.columns import totals
from grpolab.events import MEMORY_PHASES
from grpolab.history import Steps
from grpolab.lane_state import LaneState

PEAK = "peak"
"""The phase of each step that held most."""

RECENT = 60
"""Steps in which a phase that does not come with each step, such as evaluation, is looked for."""

NEWEST = 24
"""Steps that are asked which phases there are."""

Held = Mapping[str, int]
"""Bytes by owner."""


class Rows:
    """Finished steps by their place, the oldest first."""

    def __init__(self, lane: LaneState | None) -> None:
        self.steps = lane.steps if lane is not None else Steps()

    def __len__(self) -> int:
        return len(self.steps)

    def number(self, row: int) -> int:
        return self.steps.axis("step")[row]

    def upto(self, step: int | None) -> int:
        """The row of the newest step up to this one (None: of all); −1 if there is none."""
        return len(self) - 1 if step is None else self.steps.row(step)

    def totals(self) -> Sequence[float]:
        """Bytes at each step's peak."""
        return totals(self.steps.memory, 0, len(self))

    def held(self, row: int, phase: str) -> Held:
        """What a step held in a phase; where it does not tell, what was last told before it."""
        if phase == PEAK:
            return {o: int(n) for o, c in self.steps.memory.items() if (n := c.at(row))}
        for at in range(row, max(-1, row - RECENT), -1):
            if phase in self.steps[at].memory_phases:
                return self.steps[at].memory_phases[phase]
        return {}

    def phases(self) -> list[str]:
        """`PEAK`, and the phases that the newest steps tell of, in their order."""
        newest = range(max(0, len(self) - NEWEST), len(self))
        seen = {name for row in newest for name in self.steps[row].memory_phases}
        known = [n for n in MEMORY_PHASES if n in seen]
        return [PEAK, *known, *sorted(seen - set(MEMORY_PHASES))]
