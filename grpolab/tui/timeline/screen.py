"""The timeline screen: bookmarks, checkpoints and changes of a run, to view or to rewind to."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.timeline.model import Moment, moments, whole
from grpolab.tui.timeline.view import Choices, Entries
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

SHOWN = (
    ev.LaneOpened, ev.Switched, ev.SettingChanged, ev.Chatted, ev.Checkpointed, ev.Resumed,
    ev.StepDone, ev.Ended,
)  # fmt: skip


class TimeScreen(Overlay):
    BINDINGS = bindings("time")
    key = "time"
    heading = "Timeline"
    mouse = "click an entry, the line of the run, a key below"
    explains = (
        "The run from its first to its last step: ★ your bookmarks, ◇ checkpoints, ⇄ switches of "
        "the algorithm, ✎ changed settings, ⑂ forks, ? questions you asked, ↶ rewinds.\n"
        "Enter shows the step in the lab; training continues meanwhile.\n"
        "A checkpoint contains everything that later steps depend on. A rewind restores it and "
        "discards the steps after it, which are listed before you confirm. The steps are then "
        "repeated with the same prompts and random seeds, so that any difference comes from what "
        "you change.\n"
        "A fork copies a lane: its policy, its optimizer and its random state. Both continue from "
        "there, the copy under another algorithm."
    )

    def __init__(self, context: AppContext, kind: str = "") -> None:
        super().__init__(context)
        self.part = "moments"
        self.parts = (Entries(self, id="moments"), Choices(self, id="about"))
        self.found: list[Moment] = []
        self.at = 0
        self._look()
        self._choose(kind)

    def _look(self) -> None:
        """List the entries again, keeping the selection."""
        chosen = self.found[self.at] if self.found else None
        self.found = moments(self.context)
        _, self.done = whole(self.context)
        if chosen in self.found:
            self.at = self.found.index(chosen)
        elif chosen is not None and chosen.kind == "now":
            self.at = next(i for i, m in enumerate(self.found) if m.kind == "now")
        self.at = min(self.at, len(self.found) - 1)

    def _choose(self, kind: str) -> None:
        """Select the newest entry of a kind, else the one nearest to the step in view."""
        of = [i for i, m in enumerate(self.found) if m.kind == kind or (kind and m.kept)]
        near = min(range(len(self.found)), key=lambda i: abs(self.found[i].step - self.view_step))
        self.at = of[-1] if of else near

    @property
    def chosen(self) -> Moment:
        return self.found[self.at]

    @property
    def view_step(self) -> int:
        return self.context.view.step(self.context.state)

    @property
    def length(self) -> int:
        """Steps of the whole run."""
        return max(self.context.state.steps, self.done)

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, SHOWN) for e in events):
            self._look()
            self.again()

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width >= 110:
            left = max(64, round(width * 0.64))
            return {
                "moments": Rect(0, 0, left, height),
                "about": Rect(left, 0, width - left, height),
            }
        below = min(8, height // 2)
        return {
            "moments": Rect(0, 0, width, height - below),
            "about": Rect(0, height - below, width, below),
        }

    def scrolled(self) -> Box[Any] | None:
        return self.parts[1]

    def _go(self, at: int) -> None:
        self.at = max(0, min(len(self.found) - 1, at))
        self.again()

    def action_row_next(self) -> None:
        self._go(self.at + 1)

    def action_row_previous(self) -> None:
        self._go(self.at - 1)

    def action_first(self) -> None:
        self._go(0)

    def action_last(self) -> None:
        self._go(len(self.found) - 1)

    def action_time_go(self) -> None:
        """Show the selected step in the lab."""
        if self.chosen.kind == "now" and self.context.mode != "replay":
            self.lab.action_last()
        else:
            self.lab.go_to(max(1, self.chosen.step))
        self.dismiss(None)

    def action_goto(self) -> None:
        self.lab.action_goto()

    def action_bookmark(self) -> None:
        m = self.chosen
        lane = m.bookmark.lane if m.bookmark else m.lane or self.context.view.lane
        self.lab.ask_note(m.step, lane, self._changed)

    def action_time_delete(self) -> None:
        if (mark := self.chosen.bookmark) is not None:
            problem = self.context.bookmarks.remove(mark)
            self.context.say(f"not written: {problem}" if problem else "bookmark removed")
        else:
            self.context.say("this is not a bookmark", "warn")
        self._changed()

    def _changed(self) -> None:
        self._look()
        self.again()

    def action_rewind(self) -> None:
        if self._can_go_back():
            self.lab.ask_rewind(self.chosen.step)
        self.again()

    def action_fork(self) -> None:
        if self.chosen.kind == "now":
            self.lab.action_fork()
        elif self._can_go_back():
            self.lab.ask_fork(self.chosen.step)
        self.again()

    def _can_go_back(self) -> bool:
        if (self.context.commands or self.context.restartable) and not self.chosen.kept:
            self.context.say("select a checkpoint ◇ that still exists, or the start", "warn")
            return False
        return True

    def action_session(self) -> None:
        self.lab.action_session()
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "moment" and value == self.at:
            self.action_time_go()
        elif what == "moment":
            self._go(int(value))
        elif what == "step":
            steps = [abs(m.step - int(value)) for m in self.found]
            self._go(steps.index(min(steps)))
