"""What the keys do with time: steps, playing on, bookmarks, the list of moments."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpolab.record.bookmarks import Bookmark
from grpolab.tui.lab.training import Rewind
from grpolab.tui.source import SPEEDS, Playing

JUMP = 10
"""Steps of a larger jump."""


class TimeTravel(Rewind):
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
        self.context.rolling = None
        if isinstance(self.context.source, Playing):
            if (held := self._visited()) is not None:  # the steps around it, not around the clock
                self.context.source.go(held)
                self.context.view.browse_to(self.context.state, None)
            self.context.source.scrub(by)
        else:
            self.context.view.browse(self.context.state, by)
        self.moved()

    def _visited(self) -> int | None:
        """The step to which a replay's view was taken while the clock stands elsewhere. A view that
        was held where it was stays, whatever the clock does."""
        held = self.context.view.held
        if held is None or not (self.context.back_stack or held.step > self.context.state.step):
            return None
        return held.step

    def action_first(self) -> None:
        self.context.rolling = None
        if isinstance(self.context.source, Playing):
            if self._visited() is not None:
                self.context.view.browse_to(self.context.state, None)
            self.context.source.home()
        else:
            self.context.view.browse(self.context.state, -(10**9))
        self.moved()

    def action_last(self) -> None:
        self.context.rolling = None
        if isinstance(self.context.source, Playing):
            self.context.source.end()
        self.context.view.browse_to(self.context.state, None)
        self.context.back_stack.clear()
        self.moved()

    def go_to(self, step: int) -> None:
        """Show a step: of a replay by its clock, of a run under way by holding the view there."""
        self.context.rolling = None
        if isinstance(self.context.source, Playing):
            self.context.view.browse_to(self.context.state, None)
            self.context.source.go(step)
        else:
            self.context.view.browse_to(self.context.state, step)
        self.moved()

    def action_recorded(self) -> None:
        """To the nearest step whose tokens are recorded."""
        from grpolab.tui import quantities as recorded

        found = recorded.lag(self.context)
        if found is not None and found.nearest is not None:
            self.go_to(found.nearest)
            return
        lane = self.context.view.lane_state(self.context.state)
        if found is not None:
            self.context.say(recorded.told(found, ""), "warn")
        elif lane is None or lane.last is None:
            self.context.say("tokens appear when a step is finished", "warn")
        else:
            self.context.say("the tokens of this step are recorded: they are what you see")
        self.moved()

    def action_goto(self) -> None:
        from grpolab.tui.timeline import model as timeline
        from grpolab.tui.widgets.dialog import Entry

        context = self.context
        here, (_, last) = context.view.step(context.state), timeline.whole(context)

        def meant(text: str) -> int:
            return timeline.step_meant(text, here, last)

        told = [
            (f"The view is at step {here}; the run has {last} so far." if context.mode != "replay"
             else f"The view is at step {here} of {last}.", "text"),
            ("A step, or +5, -5, 50%, first, last.", "dim"),
        ]  # fmt: skip
        self.app.push_screen(
            Entry(context, "Go to a step", told, check=meant),
            lambda text: self.go_to(meant(text)) if text else None,
        )

    def action_moment_next(self) -> None:
        self._moment(1)

    def action_moment_previous(self) -> None:
        self._moment(-1)

    def _moment(self, by: int) -> None:
        """To the next or previous step at which something stands on the time screen."""
        from grpolab.tui.timeline import model as timeline

        here = self.context.view.step(self.context.state)
        found = [m for m in timeline.moments(self.context) if m.kind not in ("start", "now")]
        ahead = [m for m in found if (m.step > here if by > 0 else 0 < m.step < here)]
        if not ahead:
            self.context.say("no mark further on" if by > 0 else "no mark before this", "warn")
            self.moved()
            return
        m = ahead[0] if by > 0 else ahead[-1]
        self.go_to(m.step)
        self.tick()  # what is passed on the way has its say first
        self.context.say(f"step {m.step}: {m.kind}, {m.text}", "accent")
        self.moved()

    # playing on: a replay by its clock, a held view step by step

    def action_play(self) -> None:
        context = self.context
        if isinstance(context.source, Playing):
            context.source.toggle()
        elif context.rolling is not None:
            context.rolling = None
        elif context.view.held is None:
            context.say("this is the newest step; go back first, then play on from there", "warn")
        else:
            context.rolling = 2.0
            self._rolled = time.monotonic()
        self.moved()

    def action_slower(self) -> None:
        self._speed(-1)

    def action_faster(self) -> None:
        self._speed(1)

    def _speed(self, by: int) -> None:
        context = self.context
        if isinstance(context.source, Playing):
            context.source.faster(by)
        elif context.rolling is not None:
            at = SPEEDS.index(context.rolling) + by
            context.rolling = SPEEDS[max(0, min(len(SPEEDS) - 1, at))]
        else:
            context.say(f"{context.keymap.shown('play')} plays on from a held step", "warn")
        self.moved()

    def roll(self, now: float) -> None:
        """Move a held view on when its time has come; at the newest step it follows again."""
        context = self.context
        if context.rolling is None or now - self._rolled < 1 / context.rolling:
            return
        by = max(1, round(min(1.0, now - self._rolled) * context.rolling))
        self._rolled = now
        if context.view.held is None:
            context.rolling = None
            return
        context.view.browse(context.state, by)
        self.moved()

    # bookmarks

    def action_bookmark(self) -> None:
        view = self.context.view
        if self.context.view.lane_state(self.context.state) is not None:
            self.ask_note(view.step(self.context.state), view.lane, self.moved)

    def ask_note(self, step: int, lane: str, then: Callable[[], None]) -> None:
        """Set a bookmark, or change the note of the one that is there."""
        from grpolab.tui.widgets.dialog import Entry

        marks = self.context.bookmarks
        known = marks.at(step, lane)

        def typed(text: str | None) -> None:
            if text is None:
                return
            problem = marks.put(Bookmark(step, lane, text))
            key = self.context.keymap.shown("time")
            told = f"bookmark at step {step}; {key} lists them"
            if problem:
                told = f"bookmark kept until you leave only: its file: {problem}"
            self.context.say(told, "warn" if problem else "good")
            then()

        told = [("Why it is worth coming back; may stay empty.", "dim")]
        title = f"Bookmark at step {step}" + (": its note" if known else "")
        entry = Entry(self.context, title, told, value=known.note if known else "", keys="↵ keep")
        self.app.push_screen(entry, typed)

    def action_time(self, kind: str = "") -> None:
        from grpolab.tui.timeline.screen import TimeScreen

        if self.context.view.lane_state(self.context.state) is None:
            self.context.say("there is no lane yet", "warn")
            self.moved()
            return
        self.app.push_screen(TimeScreen(self.context, kind))
