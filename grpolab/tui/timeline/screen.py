"""The time screen: bookmarks, checkpoints and changes of a run, to look at and to go back to."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.timeline import model as timeline
from grpolab.tui.timeline.model import Moment
from grpolab.tui.timeline.view import About, Moments
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

TELLING = (
    ev.LaneOpened, ev.Switched, ev.SettingChanged, ev.Chatted, ev.Checkpointed, ev.Resumed,
    ev.StepDone, ev.Ended,
)  # fmt: skip


class TimeScreen(Overlay):
    BINDINGS = bindings("time")
    key = "time"
    heading = "Time"
    mouse = "click a moment, the line of the run, a key below"
    explains = (
        "The run from its first step to its last, with what is worth coming back to: ★ your "
        "bookmarks, ◇ checkpoints, ⇄ switches of the algorithm, ✎ changed settings, ⑂ forks, ? "
        "questions you asked, ↶ rewinds.\n"
        "Enter shows that step in the lab; the training goes on meanwhile.\n"
        "A checkpoint holds everything that later steps depend on. Rewinding puts the training "
        "back there: what came after is undone, and said before. The same prompts and the same "
        "noise come again, so that whatever then differs comes from what you change.\n"
        "A fork copies a lane: its policy, its optimizer and its random state. Both go on from "
        "there, the copy under another algorithm."
    )

    def __init__(self, context: AppContext, kind: str = "") -> None:
        super().__init__(context)
        self.part = "moments"
        self.parts = (Moments(self, id="moments"), About(self, id="about"))
        self.found: list[Moment] = []
        self.at = 0
        self._look()
        self._choose(kind)

    def _look(self) -> None:
        """List the moments anew; the chosen one stays chosen."""
        chosen = self.found[self.at] if self.found else None
        self.found = timeline.moments(self.context)
        _, self.done = timeline.whole(self.context)
        if chosen in self.found:
            self.at = self.found.index(chosen)
        elif chosen is not None and chosen.kind == "now":
            self.at = next(i for i, m in enumerate(self.found) if m.kind == "now")
        self.at = min(self.at, len(self.found) - 1)

    def _choose(self, kind: str) -> None:
        """The newest moment of a kind, else the one nearest to what is looked at."""
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
        """Steps of the whole line."""
        return max(self.context.state.steps, self.done)

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, TELLING) for e in events):
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
        """Show the chosen step in the lab."""
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
            self.context.say("this is no bookmark", "warn")
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
            self.context.say("choose a checkpoint ◇ that is still there, or the start", "warn")
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
