"""What the keys do with time: steps, playing on, bookmarks, the list of moments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpolab.record.bookmarks import Bookmark
from grpolab.tui.lab.training import GoingBack
from grpolab.tui.source import SPEEDS, Playing

JUMP = 10
"""Steps of a larger jump."""


class Travel(GoingBack):
    """These actions, apart from the screen that they act on."""

    _rolled = 0.0

    if TYPE_CHECKING:

        def tick(self) -> None: ...

    def action_older(self) -> None:
        self._browse(-1)

    def action_newer(self) -> None:
        self._browse(1)

    def action_jump_back(self) -> None:
        self._browse(-JUMP)

    def action_jump_on(self) -> None:
        self._browse(JUMP)

    def _browse(self, by: int) -> None:
        self.desk.rolling = None
        if isinstance(self.desk.source, Playing):
            if (held := self._visited()) is not None:  # the steps around it, not around the clock
                self.desk.source.go(held)
                self.desk.view.browse_to(self.desk.state, None)
            self.desk.source.scrub(by)
        else:
            self.desk.view.browse(self.desk.state, by)
        self.moved()

    def _visited(self) -> int | None:
        """The step to which a replay's view was taken while the clock stands elsewhere. A view that
        was held where it was stays, whatever the clock does."""
        held = self.desk.view.held
        if held is None or not (self.desk.trail or held.step > self.desk.state.step):
            return None
        return held.step

    def action_first(self) -> None:
        self.desk.rolling = None
        if isinstance(self.desk.source, Playing):
            if self._visited() is not None:
                self.desk.view.browse_to(self.desk.state, None)
            self.desk.source.home()
        else:
            self.desk.view.browse(self.desk.state, -(10**9))
        self.moved()

    def action_last(self) -> None:
        self.desk.rolling = None
        if isinstance(self.desk.source, Playing):
            self.desk.source.end()
        self.desk.view.browse_to(self.desk.state, None)
        self.desk.trail.clear()
        self.moved()

    def go_to(self, step: int) -> None:
        """Show a step: of a replay by its clock, of a run under way by holding the view there."""
        self.desk.rolling = None
        if isinstance(self.desk.source, Playing):
            self.desk.view.browse_to(self.desk.state, None)
            self.desk.source.go(step)
        else:
            self.desk.view.browse_to(self.desk.state, step)
        self.moved()

    def action_recorded(self) -> None:
        """To the nearest step whose tokens are recorded."""
        from grpolab.tui import quantities as recorded

        found = recorded.lag(self.desk)
        if found is not None and found.nearest is not None:
            self.go_to(found.nearest)
            return
        lane = self.desk.view.lane_state(self.desk.state)
        if found is not None:
            self.desk.say(recorded.told(found, ""), "warn")
        elif lane is None or lane.last is None:
            self.desk.say("tokens appear when a step is finished", "warn")
        else:
            self.desk.say("the tokens of this step are recorded: they are what you see")
        self.moved()

    def action_goto(self) -> None:
        from grpolab.tui.timeline import model as timeline
        from grpolab.tui.widgets.dialog import Entry

        desk = self.desk
        here, (_, last) = desk.view.step(desk.state), timeline.whole(desk)

        def meant(text: str) -> int:
            return timeline.step_meant(text, here, last)

        told = [
            (f"The view is at step {here}; the run has {last} so far." if desk.mode != "replay"
             else f"The view is at step {here} of {last}.", "text"),
            ("A step, or +5, -5, 50%, first, last.", "dim"),
        ]  # fmt: skip
        self.app.push_screen(
            Entry(desk, "Go to a step", told, check=meant),
            lambda text: self.go_to(meant(text)) if text else None,
        )

    def action_moment_next(self) -> None:
        self._moment(1)

    def action_moment_previous(self) -> None:
        self._moment(-1)

    def _moment(self, by: int) -> None:
        """To the next or previous step at which something stands on the time screen."""
        from grpolab.tui.timeline import model as timeline

        here = self.desk.view.step(self.desk.state)
        found = [m for m in timeline.moments(self.desk) if m.kind not in ("start", "now")]
        ahead = [m for m in found if (m.step > here if by > 0 else 0 < m.step < here)]
        if not ahead:
            self.desk.say("no mark further on" if by > 0 else "no mark before this", "warn")
            self.moved()
            return
        m = ahead[0] if by > 0 else ahead[-1]
        self.go_to(m.step)
        self.tick()  # what is passed on the way has its say first
        self.desk.say(f"step {m.step}: {m.kind}, {m.text}", "accent")
        self.moved()

    # playing on: a replay by its clock, a held view step by step

    def action_play(self) -> None:
        desk = self.desk
        if isinstance(desk.source, Playing):
            desk.source.toggle()
        elif desk.rolling is not None:
            desk.rolling = None
        elif desk.view.held is None:
            desk.say("this is the newest step; go back first, then play on from there", "warn")
        else:
            desk.rolling = 2.0
            self._rolled = time.monotonic()
        self.moved()

    def action_slower(self) -> None:
        self._speed(-1)

    def action_faster(self) -> None:
        self._speed(1)

    def _speed(self, by: int) -> None:
        desk = self.desk
        if isinstance(desk.source, Playing):
            desk.source.faster(by)
        elif desk.rolling is not None:
            at = SPEEDS.index(desk.rolling) + by
            desk.rolling = SPEEDS[max(0, min(len(SPEEDS) - 1, at))]
        else:
            desk.say(f"{desk.keymap.shown('play')} plays on from a held step", "warn")
        self.moved()

    def roll(self, now: float) -> None:
        """Move a held view on when its time has come; at the newest step it follows again."""
        desk = self.desk
        if desk.rolling is None or now - self._rolled < 1 / desk.rolling:
            return
        by = max(1, round(min(1.0, now - self._rolled) * desk.rolling))
        self._rolled = now
        if desk.view.held is None:
            desk.rolling = None
            return
        desk.view.browse(desk.state, by)
        self.moved()

    # bookmarks

    def action_bookmark(self) -> None:
        view = self.desk.view
        if self.desk.view.lane_state(self.desk.state) is not None:
            self.ask_note(view.step(self.desk.state), view.lane, self.moved)

    def ask_note(self, step: int, lane: str, then: Callable[[], None]) -> None:
        """Set a bookmark, or change the note of the one that is there."""
        from grpolab.tui.widgets.dialog import Entry

        marks = self.desk.bookmarks
        known = marks.at(step, lane)

        def typed(text: str | None) -> None:
            if text is None:
                return
            problem = marks.put(Bookmark(step, lane, text))
            key = self.desk.keymap.shown("time")
            told = f"bookmark at step {step}; {key} lists them"
            if problem:
                told = f"bookmark kept until you leave only: its file: {problem}"
            self.desk.say(told, "warn" if problem else "good")
            then()

        told = [("Why it is worth coming back; may stay empty.", "dim")]
        title = f"Bookmark at step {step}" + (": its note" if known else "")
        entry = Entry(self.desk, title, told, value=known.note if known else "", keys="↵ keep")
        self.app.push_screen(entry, typed)

    def action_time(self, kind: str = "") -> None:
        from grpolab.tui.timeline.screen import TimeScreen

        if self.desk.view.lane_state(self.desk.state) is None:
            self.desk.say("there is no lane yet", "warn")
            self.moved()
            return
        self.app.push_screen(TimeScreen(self.desk, kind))
