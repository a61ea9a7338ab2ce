"""The memory screen: by owner over the steps and by phase, measured and predicted."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.record.events import at_the_peak
from grpolab.record.lane_state import LaneState
from grpolab.tui.context import AppContext
from grpolab.tui.lab.memory import Memory
from grpolab.tui.memory.model import PEAK, Held, Rows, Stack
from grpolab.tui.memory.view import FOREIGN, UPDATE, OverSteps, Owners, Phases
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings


class MemoryScreen(Overlay):
    BINDINGS = bindings("memory")
    key = "memory"
    heading = "Memory"
    mouse = "click a column: cursor; click a phase, a key below"
    explains = (
        "Top: memory over the steps, stacked; each letter is one owner, see the list below it. "
        "╌ is the prediction made before the model was loaded. If there are more steps than "
        "columns, a column shows its step with the most memory.\n"
        "Bottom: the cursor's step by owner and by phase, measured and predicted. ↓ ↑ choose the "
        "stacked phase; o hides non-model memory (Python, libraries, CUDA context).\n"
        + Memory.explains.partition("\nBelow")[0]
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.phase, self.shares = PEAK, False
        self.foreign = True  # whether non-model memory is shown
        self.at: int | None = None  # the cursor's step; None: the newest
        self.columns: Stack | None = None  # as last drawn
        self.part = "owners"
        self.parts = (
            OverSteps(self, id="over"), Owners(self, id="owners"), Phases(self, id="phases"),
        )  # fmt: skip

    # what is shown

    def lane(self) -> LaneState | None:
        return self.context.view.lane_state(self.context.state)

    def rows(self) -> Rows:
        return Rows(self.lane())

    def row(self) -> int:
        """The cursor's row; −1 if nothing is measured."""
        rows = self.rows()
        return max(rows.upto(self.at), 0 if len(rows) else -1)

    def kept(self, held: Held) -> Held:
        """Bytes of the owners that are shown."""
        return held if self.foreign else {o: n for o, n in held.items() if o not in FOREIGN}

    def predicted(self) -> Held:
        """Predicted bytes by owner for the selected phase."""
        told = self.context.state.predicted_memory
        if self.phase == PEAK:
            return self.kept(at_the_peak(told) if told else {})
        return self.kept(told.get("update" if self.phase in UPDATE else self.phase, {}))

    def predicted_total(self) -> int:
        return sum(self.predicted().values())

    def news(self, events: list[ev.Event]) -> None:
        if any(e.kind in ("step", "switch", "resumed", "run", "lane") for e in events):
            for part in self.parts:
                part.stale = True

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        top = max(8, round(height * 0.45))
        rest = height - top
        if width >= 112:
            left = max(68, width * 2 // 5)
            return {
                "over": Rect(0, 0, width, top),
                "owners": Rect(0, top, left, rest),
                "phases": Rect(left, top, width - left, rest),
            }
        return {"over": Rect(0, 0, width, top), self.part: Rect(0, top, width, rest)}

    def scrolled(self) -> Box[Any] | None:
        return self.parts[1] if self.part == "owners" else self.parts[2]

    # keys and clicks

    def to_step(self, step: int) -> None:
        """Move the cursor to a step."""
        rows = self.rows()
        self.at = None if len(rows) and step >= rows.number(len(rows) - 1) else step
        self.again()

    def _move(self, by: int) -> None:
        rows, row = self.rows(), self.row()
        if row >= 0:
            self.to_step(rows.number(max(0, min(len(rows) - 1, row + by))))

    def action_memory_right(self) -> None:
        self._move(1)

    def action_memory_right_back(self) -> None:
        self._move(-1)

    def action_memory_jump(self) -> None:
        self._move(10)

    def action_memory_jump_back(self) -> None:
        self._move(-10)

    def action_memory_first(self) -> None:
        self._move(-(10**9))

    def action_memory_last(self) -> None:
        self._move(10**9)

    def _phase(self, by: int) -> None:
        names = self.rows().phases()
        at = names.index(self.phase) if self.phase in names else 0
        self.phase = names[(at + by) % len(names)]
        self.again()

    def action_row_next(self) -> None:
        self._phase(1)

    def action_row_previous(self) -> None:
        self._phase(-1)

    def action_memory_shares(self) -> None:
        self.shares = not self.shares
        self.again()

    def action_memory_foreign(self) -> None:
        self.foreign = not self.foreign
        self.again()

    def action_memory_table(self) -> None:
        self.part = "phases" if self.part == "owners" else "owners"
        self.again()

    def action_lane(self) -> None:
        self.lab.action_lane()
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "phase":
            self.phase = str(value)
        elif what == "pane" and value in ("owners", "phases"):
            self.part = str(value)
        self.again()
