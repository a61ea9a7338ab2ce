"""The lab: polls the run, folds its events, and repaints what is in sight and stale."""

from __future__ import annotations

import gc
import time
from typing import ClassVar, Protocol

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer

from grpolab.record import events as ev
from grpolab.tui import first_frame_driver
from grpolab.tui.context import AppContext
from grpolab.tui.health import model as health_model
from grpolab.tui.keys import ACTIONS
from grpolab.tui.lab.actions import Actions
from grpolab.tui.lab.footer import Footer
from grpolab.tui.lab.header import Header, Tabs
from grpolab.tui.lab.loading import Loading
from grpolab.tui.source import Playing
from grpolab.tui.widgets import repaint as partial_repaint
from grpolab.tui.widgets.canvas import Body, Canvas, Pane
from grpolab.tui.widgets.layout import Rect, arrange, folded
from grpolab.tui.widgets.repaint import RepaintBudget

POLL = 1 / 15
"""Seconds between two looks at the run file while somebody is at the keys, or a replay plays."""

IDLE = 1 / 4
"""The same while somebody only looks on."""

EAGER = 1.0
"""Seconds after a key in which the screen is as quick as it can be."""

LATEST = 2.0
"""Seconds after which what is stale is painted even if that is more than its share."""

CLOCK = 0.25
"""Seconds between two repaints of what only tells the time."""


class Listener(Protocol):
    """A screen over the lab that wants to know what happens."""

    canvases: list[Canvas]

    def news(self, events: list[ev.Event]) -> None:
        """Events that are in the state already; called a few times a second without any."""
        ...


class LabScreen(Actions, Screen[int]):
    """The screen under all others: it alone polls the run."""

    BLANK = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(a.keys, a.call, a.help, id=a.name, show=False) for a in ACTIONS
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(id="lab")
        self.context = context
        self.panes: dict[str, Pane] = {}
        self.canvases: list[Canvas] = []
        self.guests: list[Listener] = []
        self.told_failure = False
        self.reserved = 0  # rows below the panes that the tour has for itself
        self.repaint_budget = RepaintBudget()
        self._ticks: dict[float, Timer] = {}  # by the seconds between two
        self._last = time.monotonic()
        self._clock = 0.0
        self._painted = 0.0

    def compose(self) -> ComposeResult:
        self.tabs, self.start = Tabs(self.context, id="tabs"), Loading(self.context, id="loading")
        header, footer = Header(self.context), Footer(self.context)
        self.canvases = [header, self.tabs, self.start, footer]
        yield from (header, self.tabs, Body(self.start), footer)

    def on_mount(self) -> None:
        self.tabs.display = False
        self.call_after_refresh(self.apply)

    def apply(self) -> None:
        """After the first frame: mount the panes, open the source, learn the algorithms."""
        gc.freeze()  # what was imported stays; see commands._screen
        gc.enable()
        if self.app.to_keep is not None:
            first_frame_driver.keep(self.app.to_keep, self)
        from grpolab.tui.lab import algorithm, learning, memory, rollouts, tokens

        made: tuple[Pane, ...] = (
            rollouts.Rollouts(self.context, id="rollouts"),
            tokens.Tokens(self.context, id="tokens"),
            learning.Learning(self.context, id="learning"),
            learning.Kl(self.context, id="kl"),
            memory.Memory(self.context, id="memory"),
            algorithm.Algorithm(self.context, id="algorithm"),
        )
        for pane in made:
            pane.display = False
            self.panes[str(pane.id)] = pane
        self.canvases += made
        self.query_one(Body).mount(*made)
        self.run_worker(self._prepare, thread=True, exit_on_error=False)
        self._ticks = {
            pause: self.set_interval(pause, self.tick, pause=True) for pause in (POLL, IDLE)
        }
        self._ticks[IDLE].resume()
        self.offer_tour()

    def offer_tour(self) -> None:
        """Once, to who has never been here."""
        if self.app.offers_tour and self.app.screen is self:
            from grpolab.tui.tour.screen import TourOffer

            self.app.remember(tour=True)
            self.app.push_screen(
                TourOffer(self.context), lambda yes: self.action_tour() if yes else None
            )

    def _prepare(self) -> None:
        from grpolab.tui import algorithm_cards

        try:
            self.context.source.load()
        except Exception as error:  # the request was wrong, the file cannot be read: told outside
            self.context.problem = error
            self.app.call_from_thread(self.app.exit, 1)
            return
        self.context.run_dir = self.context.source.run_dir or self.context.run_dir
        self.app.call_from_thread(self.tick)  # the curves do not wait for the algorithms either
        algorithm_cards.load()
        gc.freeze()  # a long run's index stays too: looking through it would hold up keys
        self.app.call_from_thread(self.mark, {"cards"})

    def mark(self, marks: set[str]) -> None:
        """Something of these kinds happened: whoever watches it is stale."""
        for screen in (self, *self.guests):
            for canvas in screen.canvases:
                if canvas.watches & marks:
                    canvas.stale = True

    def repaint(
        self, at_once: bool = False, slow: int | None = None, throttled: bool = False
    ) -> None:
        """Paint the stale canvases in sight. `at_once`: even if painted a moment ago. Of those that
        take long at most `slow`: a key may be waiting. `throttled`: as often as the screen's share
        of the machine allows, and then all of them: together they cost less."""
        now = time.monotonic()
        seen = next((s for s in reversed(self.app.screen_stack) if not s.is_modal), self)
        listener = next((g for g in self.guests if g is seen), None)
        due = [
            canvas
            for canvas in (self.canvases if listener is None else listener.canvases)
            if canvas.due(now, throttled)
            or (at_once and canvas.stale and canvas.display and canvas.is_mounted)
        ]
        if throttled and not self.repaint_budget.left() and now - self._painted < LATEST:
            return
        painted: list[tuple[Canvas, list[partial_repaint.Changed]]] = []
        for canvas in due:
            if canvas.slow and slow is not None and canvas.id != self.context.current:
                if not slow:
                    continue
                slow -= 1
            if changed := canvas.rebuilt():
                painted.append((canvas, changed))
            self._painted = now
        if painted:
            partial_repaint.show(seen, painted)

    def moved(self) -> None:
        """The user moved the view, or the clock: show it now; what is beside the pane that keys
        speak to, and takes long, with the next ticks."""
        if self.context.mode == "replay":
            self.take()
        self.mark({"select"})
        self.repaint(at_once=True, slow=0)
        self._hurry(True)

    @property
    def interactive(self) -> bool:
        """Whether somebody waits for the screen, or nothing else would be held up by it."""
        context, source = self.context, self.context.source
        moving = isinstance(source, Playing) and source.playing and not source.over
        return moving or context.rolling is not None or time.monotonic() - context.touched < EAGER

    def _hurry(self, interactive: bool) -> None:
        """Look at the run file often, or less often."""
        for pause, ticks in self._ticks.items():
            if (pause == POLL) is interactive:
                ticks.resume()
            else:
                ticks.pause()

    def tick(self) -> None:
        """Take in what happened since the last time, and repaint."""
        interactive = self.interactive
        self._hurry(interactive)
        self.take()
        beside = self.context.mode != "replay" and not (
            self.context.over or self.context.state.paused
        )
        if interactive or not beside:
            self.repaint_budget.reset()
        throttled = beside and not interactive
        before = health_model.known(self.context)
        if health_model.found(self.context) != before:
            self.mark({"clock"})  # the header tells them
        self.repaint(slow=None if throttled else 2, throttled=throttled)

    def take(self) -> None:
        """Take in what happened since the last time."""
        now = time.monotonic()
        restart, batch = self.context.source.poll(now - self._last)
        self._last = now
        marks = {event.kind for _, event in batch}
        if restart:
            self.context.state = self.context.source.fresh()
            marks |= {*ev.KINDS, "select"}
        elif self.context.state.archive is None:
            self.context.state.archive = self.context.source.past
        for t, event in batch:
            self.context.state.apply(event, t)
            if not restart:
                self._tell(event)
        if restart:
            self.context.view.again(self.context.state)
            self.context.asked.clear()  # the answer may be in what was not read one by one
        if marks & {"paused", "continued", "end", "failed"}:
            self.context.pausing = False
        if now - self._clock >= CLOCK * self.context.pace:
            self._clock = now
            marks.add("clock")
        if not batch:
            self._watch_engine()
        if self.start.display and self.begun:
            self.relayout()
        for listener in tuple(self.guests) if batch or restart or "clock" in marks else ():
            if listener not in self.app.screen_stack:  # it is being taken down
                continue
            listener.news([event for _, event in batch] + (self._newest() if restart else []))
        if marks:
            self.mark(marks)
        self.roll(now)

    def _newest(self) -> list[ev.Event]:
        """What every lane has last, of each kind that a screen may wait for."""
        return [
            event
            for lane in self.context.state.lanes.values()
            for events in (
                lane.steps[-1:], lane.switches[-1:], lane.changes[-1:], lane.benches[-1:],
                lane.chats[-1:], list(lane.lenses.values())[-1:],
            )
            for event in events
        ]  # fmt: skip

    def _tell(self, event: ev.Event) -> None:
        """Notices for what happens rarely and matters."""
        context = self.context
        match event:
            case ev.Switched():
                names = f"{event.before.upper()} → {event.after.upper()}"
                fresh = f"; reset {', '.join(event.reset)}" if event.reset else ""
                context.say(f"{names}: kept {', '.join(event.kept)}{fresh}", "accent")
            case ev.Resumed():
                self.rewound(event)
            case ev.LaneOpened() if event.parent:
                context.say(f"lane {event.lane} forked from {event.parent}", "accent")
            case ev.Refused():
                context.answered(str(event.command.get("do")), event.command.get("lane"))
                context.say(f"refused: {event.reason}", "bad")
            case ev.Relieved():
                context.say(event.what, "bad")
            case ev.LensMade():
                context.answered("lens", event.lane)
                if not self.guests:
                    context.say(
                        f"lens on step {event.step}: {context.keymap.shown('lens')} shows it"
                    )
            case ev.After():
                context.answered("after", event.lane)
            case ev.KlBenched():
                context.answered("kl-bench", event.lane)
                if not self.guests:
                    key = context.keymap.shown("kl_bench")
                    context.say(f"KL bench at step {event.step}: {key} shows it")
            case ev.SettingChanged():
                context.say(f"{event.key}: {event.before} → {event.after}", "accent")
            case ev.Checkpointed():
                if context.mode == "live":
                    context.say(f"checkpoint at step {event.step}")
            case ev.CriticChanged(state="warm"):
                context.say("the critic is warm", "good")
            case ev.Ended(status="done"):
                leave = context.keymap.shown("quit")
                context.say(f"Run finished. {leave} quits; everything stays to look at", "good")

    def _watch_engine(self) -> None:
        """Called when nothing new was in the file, so that the last words are read before a death
        is noticed.
        """
        context = self.context
        if context.engine is not None and context.exit_code is None:
            context.exit_code = context.engine.exit_code
            if context.exit_code is not None:
                self.mark({"end"})
                return  # one more look at the file first
        if context.leaving is not None and context.exit_code is not None:
            self.app.exit(0)
        lost = context.exit_code is not None and context.state.ended is None
        if (context.state.failed or lost) and not self.told_failure and context.mode != "replay":
            self.told_failure = True
            from grpolab.tui.lab.dialogs.failure import Failure

            self.app.push_screen(Failure(context))

    @property
    def begun(self) -> bool:
        """Whether there is something to see in the panes."""
        return any(lane.rollouts for lane in self.context.state.lanes.values())

    def boxes(self) -> dict[str, Rect]:
        """Where the panes stand in the body."""
        return self.query_one(Body).boxes

    def relayout(self) -> None:
        """Decide anew which panes are in sight and where."""
        if not self.panes:
            return
        body, begun = self.query_one(Body), self.begun or self.told_failure
        width, height = self.size.width, max(0, self.size.height - 3 - self.reserved)
        how = (self.context.current, self.context.zoom, self.context.layout)
        tabs = begun and folded(width, height, *how)
        self.tabs.display = tabs
        self.start.display = not begun
        boxes = arrange(width, height - int(tabs), *how) if begun else {}
        for name, pane in self.panes.items():
            if name in boxes and not pane.display:
                pane.stale = True
            pane.display = name in boxes
        body.put(boxes)
        self.mark({"select"})

    def on_resize(self) -> None:
        self.relayout()

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        action, argument = message.hit
        pane = message.pane
        again = pane.id == self.context.current
        if isinstance(pane, Pane) and pane.id != self.context.current:
            self.action_pane(str(pane.id))
        if action == "pane":
            self.action_pane(str(argument))
        elif action == "run":
            self.call_later(self.app.run_action, str(argument), self)
        else:
            self.select(action, argument, again)
