"""Move along the steps of a run: browse, go to a step, play, bookmark. A replay moves its clock; in
a live or watched run the view is held at a step."""

from __future__ import annotations

import time
from collections.abc import Callable

from grpolab.record.bookmarks import Bookmark
from grpolab.tui import quantities
from grpolab.tui.lab.interface import LabInterface
from grpolab.tui.source import SPEEDS, Playing

JUMP = 10
"""Steps of a larger jump."""


class TimeTravel:
    """Moves the view, or a replay's clock, in time."""

    def __init__(self, lab: LabInterface) -> None:
        self.lab, self.context = lab, lab.context
        self.rolled = 0.0  # time.monotonic() of the last step that `roll` made

    def browse(self, by: int) -> None:
        """So many steps on or back."""
        context = self.context
        context.rolling = None
        if isinstance(context.source, Playing):
            if (held := self._apart_from_clock()) is not None:  # count from there
                context.source.go(held)
                context.view.browse_to(context.state, None)
            context.source.scrub(by)
        else:
            context.view.browse(context.state, by)
        self.lab.moved()

    def _apart_from_clock(self) -> int | None:
        """The step at which the view of a replay is held while its clock is at another one, because
        the user went there; None where the view was only held while the clock ran on."""
        held = self.context.view.held
        if held is None or not (self.context.back_stack or held.step > self.context.state.step):
            return None
        return held.step

    def first(self) -> None:
        context = self.context
        context.rolling = None
        if isinstance(context.source, Playing):
            if self._apart_from_clock() is not None:
                context.view.browse_to(context.state, None)
            context.source.home()
        else:
            context.view.browse(context.state, -(10**9))
        self.lab.moved()

    def last(self) -> None:
        """The newest step; the view follows again."""
        context = self.context
        context.rolling = None
        if isinstance(context.source, Playing):
            context.source.end()
        context.view.browse_to(context.state, None)
        context.back_stack.clear()
        self.lab.moved()

    def go_to(self, step: int) -> None:
        """Show a step: a replay's clock is set, the view of a live run is held there."""
        context = self.context
        context.rolling = None
        if isinstance(context.source, Playing):
            context.view.browse_to(context.state, None)
            context.source.go(step)
        else:
            context.view.browse_to(context.state, step)
        self.lab.moved()

    def nearest_recorded(self) -> None:
        """Go to the nearest step whose tokens are recorded."""
        context = self.context
        found = quantities.lag(context)
        if found is not None and found.nearest is not None:
            self.go_to(found.nearest)
            return
        lane = context.view.lane_state(context.state)
        if found is not None:
            context.say(quantities.told(found, ""), "warn")
        elif lane is None or lane.last is None:
            context.say("tokens appear when a step is finished", "warn")
        else:
            context.say("this step's tokens are recorded and shown")
        self.lab.moved()

    def ask_step(self) -> None:
        """Ask for a step, and go there."""
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
        self.lab.app.push_screen(
            Entry(context, "Go to a step", told, check=meant),
            lambda text: self.go_to(meant(text)) if text else None,
        )

    def next_mark(self, by: int) -> None:
        """Go to the next or previous step with an entry on the timeline."""
        from grpolab.tui.timeline import model as timeline

        context = self.context
        here = context.view.step(context.state)
        marks = [m for m in timeline.moments(context) if m.kind not in ("start", "now")]
        ahead = [m for m in marks if (m.step > here if by > 0 else 0 < m.step < here)]
        if not ahead:
            where = "after" if by > 0 else "before"
            context.say(f"nothing on the timeline {where} this step", "warn")
            self.lab.moved()
            return
        mark = ahead[0] if by > 0 else ahead[-1]
        self.go_to(mark.step)
        self.lab.tick()  # notices of the steps in between come first
        context.say(f"step {mark.step}: {mark.kind}, {mark.text}", "accent")
        self.lab.moved()

    # playing: a replay by its clock, a held view step by step

    def play(self) -> None:
        """Play or pause."""
        context = self.context
        if isinstance(context.source, Playing):
            context.source.toggle()
        elif context.rolling is not None:
            context.rolling = None
        elif context.view.held is None:
            context.say("this is the newest step; go back first, then play from there", "warn")
        else:
            context.rolling = 2.0
            self.rolled = time.monotonic()
        self.lab.moved()

    def change_speed(self, by: int) -> None:
        """By `by` entries of SPEEDS."""
        context = self.context
        if isinstance(context.source, Playing):
            context.source.faster(by)
        elif context.rolling is not None:
            at = SPEEDS.index(context.rolling) + by
            context.rolling = SPEEDS[max(0, min(len(SPEEDS) - 1, at))]
        else:
            context.say(f"{context.keymap.shown('play')} plays from a held step", "warn")
        self.lab.moved()

    def roll(self, now: float) -> None:
        """Move a held view that plays to the step that is due; at the newest step it follows
        again."""
        context = self.context
        if context.rolling is None or now - self.rolled < 1 / context.rolling:
            return
        by = max(1, round(min(1.0, now - self.rolled) * context.rolling))
        self.rolled = now
        if context.view.held is None:
            context.rolling = None
            return
        context.view.browse(context.state, by)
        self.lab.moved()

    # bookmarks

    def bookmark(self) -> None:
        """Bookmark the step in view."""
        view, state = self.context.view, self.context.state
        if view.lane_state(state) is not None:
            self.ask_note(view.step(state), view.lane, self.lab.moved)

    def ask_note(self, step: int, lane: str, then: Callable[[], None]) -> None:
        """Ask for a bookmark's note and write the bookmark, or change the note of one that is
        there; call `then` once it is written."""
        from grpolab.tui.widgets.dialog import Entry

        bookmarks = self.context.bookmarks
        known = bookmarks.at(step, lane)

        def typed(text: str | None) -> None:
            if text is None:
                return
            problem = bookmarks.put(Bookmark(step, lane, text))
            key = self.context.keymap.shown("time")
            told = f"bookmark at step {step}; {key} lists them"
            if problem:
                told = f"bookmark not saved, lost when you quit: {problem}"
            self.context.say(told, "warn" if problem else "good")
            then()

        told = [("A note, so that you find it again; may be empty.", "dim")]
        title = f"Bookmark at step {step}" + (": its note" if known else "")
        entry = Entry(self.context, title, told, value=known.note if known else "", keys="↵ save")
        self.lab.app.push_screen(entry, typed)
