"""The lab's screen: reads new events of the run, applies them to the state, and repaints the
visible panes that show something of them. Its actions, one line each, are carried out by
`navigation`, `time_travel`, `training` and `overlays`."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.timer import Timer

from grpolab.record import events as ev
from grpolab.tui import first_frame_driver, preferences
from grpolab.tui.context import AppContext
from grpolab.tui.health import model as health_model
from grpolab.tui.keys import ACTIONS
from grpolab.tui.lab.footer import Footer
from grpolab.tui.lab.header import Header, Tabs
from grpolab.tui.lab.loading import Loading
from grpolab.tui.lab.navigation import Navigation
from grpolab.tui.lab.notices import announce
from grpolab.tui.lab.overlays import Overlays
from grpolab.tui.lab.time_travel import JUMP, TimeTravel
from grpolab.tui.lab.training import Training
from grpolab.tui.selection import Opens
from grpolab.tui.source import Playing
from grpolab.tui.widgets import repaint as partial_repaint
from grpolab.tui.widgets.canvas import Body, Canvas, Pane
from grpolab.tui.widgets.layout import LAYOUTS, PANES, Rect, arrange, folded
from grpolab.tui.widgets.repaint import RepaintBudget

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from grpolab.record.lane_state import RolloutView
    from grpolab.tui.app import LabApp

POLL = 1 / 15
"""Seconds between two reads of the run file while keys are pressed, or a replay plays."""

IDLE = 1 / 4
"""The same while no key is pressed."""

INTERACTIVE = 1.0
"""Seconds after a key in which the run file is read every POLL seconds."""

LATEST = 2.0
"""Seconds after which stale canvases are painted even where the repaint budget is spent."""

CLOCK = 0.25
"""Seconds between two repaints of clocks and spinners."""


class Listener(Protocol):
    """A screen over the lab that is told of new events."""

    canvases: list[Canvas]

    def news(self, events: list[ev.Event]) -> None:
        """New events, which the state contains already; called a few times a second, also with an
        empty list."""
        ...


class LabScreen(Screen[int]):
    """The screen under all others; only it reads the run."""

    BLANK = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(a.keys, a.call, a.help, id=a.name, show=False) for a in ACTIONS
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__(id="lab")
        self.context = context
        self.panes: dict[str, Pane] = {}
        self.canvases: list[Canvas] = []
        self.tabs = Tabs(context, id="tabs")
        self.start = Loading(context, id="loading")  # stands in the panes' place until a rollout
        self.listeners: list[Listener] = []
        self.reserved = 0  # rows below the panes that the tour's card occupies
        self.repaint_budget = RepaintBudget()
        self.overlays = Overlays(self)
        self.navigation = Navigation(self, self.overlays)
        self.time_travel = TimeTravel(self)
        self.training = Training(self, self.time_travel, self.overlays)
        self._ticks: dict[float, Timer] = {}  # by their interval in seconds
        self._last = time.monotonic()
        self._clock = 0.0
        self._painted = 0.0

    @property
    def app(self) -> LabApp:
        """The application; Textual declares its base class only."""
        return cast("LabApp", super().app)

    # life cycle

    def compose(self) -> ComposeResult:
        header, footer = Header(self.context), Footer(self.context)
        self.canvases = [header, self.tabs, self.start, footer]
        yield from (header, self.tabs, Body(self.start), footer)

    def on_mount(self) -> None:
        self.tabs.display = False
        self.call_after_refresh(self.mount_panes)

    def mount_panes(self) -> None:
        """After the first frame: mount the panes, then open the source and load the algorithms in a
        thread."""
        gc.freeze()  # imported modules stay; see commands._screen
        gc.enable()
        if self.app.frame_to_record is not None:
            first_frame_driver.record(self.app.frame_to_record, self)
        from grpolab.tui.lab import algorithm, learning, memory, rollouts, tokens

        panes: tuple[Pane, ...] = (
            rollouts.Rollouts(self.context, id="rollouts"),
            tokens.Tokens(self.context, id="tokens"),
            learning.Learning(self.context, id="learning"),
            learning.Kl(self.context, id="kl"),
            memory.Memory(self.context, id="memory"),
            algorithm.Algorithm(self.context, id="algorithm"),
        )
        for pane in panes:
            pane.display = False
            self.panes[str(pane.id)] = pane
        self.canvases += panes
        self.query_one(Body).mount(*panes)
        self.run_worker(self._prepare, thread=True, exit_on_error=False)
        self._ticks = {
            pause: self.set_interval(pause, self.tick, pause=True) for pause in (POLL, IDLE)
        }
        self._ticks[IDLE].resume()
        self.offer_tour()

    def offer_tour(self) -> None:
        """Offer the tour on the first run."""
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
        except Exception as error:  # wrong request, unreadable file: `app._open` raises it
            self.context.problem = error
            self.app.call_from_thread(self.app.exit, 1)
            return
        self.context.run_dir = self.context.source.run_dir or self.context.run_dir
        self.app.call_from_thread(self.tick)  # show the run before the algorithms are loaded
        algorithm_cards.load()
        gc.freeze()  # a long run's index stays: collecting it would delay keys
        self.app.call_from_thread(self.mark, {"cards"})

    def mark(self, marks: set[str]) -> None:
        """Mark every canvas that watches one of these as stale."""
        for screen in (self, *self.listeners):
            for canvas in screen.canvases:
                if canvas.watches & marks:
                    canvas.stale = True

    def repaint(
        self, at_once: bool = False, slow: int | None = None, throttled: bool = False
    ) -> None:
        """Paint the visible stale canvases. `at_once`: also those painted a moment ago. `slow`: at
        most this many of those that take long, because a key may be waiting. `throttled`: only as
        often as the repaint budget allows, and then all of them, which costs less than one by one.
        """
        now = time.monotonic()
        seen = next((s for s in reversed(self.app.screen_stack) if not s.is_modal), self)
        listener = next((g for g in self.listeners if g is seen), None)
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
        """The user moved the view or the clock: show it now. Slow canvases other than the current
        pane follow with the next ticks."""
        if self.context.mode == "replay":
            self.take()
        self.mark({"select"})
        self.repaint(at_once=True, slow=0)
        self._hurry(True)

    @property
    def interactive(self) -> bool:
        """Whether the user waits for the screen, or a replay or a held view is playing."""
        context, source = self.context, self.context.source
        moving = isinstance(source, Playing) and source.playing and not source.over
        return (
            moving
            or context.rolling is not None
            or time.monotonic() - context.touched < INTERACTIVE
        )

    def _hurry(self, interactive: bool) -> None:
        """Read the run file every POLL or every IDLE seconds."""
        for pause, ticks in self._ticks.items():
            if (pause == POLL) is interactive:
                ticks.resume()
            else:
                ticks.pause()

    def tick(self) -> None:
        """Read new events, and repaint."""
        interactive = self.interactive
        self._hurry(interactive)
        self.take()
        training = self.context.mode != "replay" and not (
            self.context.over or self.context.state.paused
        )
        if interactive or not training:
            self.repaint_budget.reset()
        throttled = training and not interactive
        before = health_model.known(self.context)
        if health_model.found(self.context) != before:
            self.mark({"clock"})  # the header counts them
        self.repaint(slow=None if throttled else 2, throttled=throttled)

    def take(self) -> None:
        """Apply the events that came since the last call, and mark what shows something of them."""
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
                self._announce(event)
        if restart:
            self.context.view.again(self.context.state)
            self.context.asked.clear()  # answers may be among the events that were skipped
        if marks & {"paused", "continued", "end", "failed"}:
            self.context.pausing = False
        if now - self._clock >= CLOCK * self.context.pace:
            self._clock = now
            marks.add("clock")
        if not batch:
            self._watch_engine()
        if self.start.display and self.begun:
            self.relayout()
        for listener in tuple(self.listeners) if batch or restart or "clock" in marks else ():
            if listener not in self.app.screen_stack:  # it is closing
                continue
            listener.news([event for _, event in batch] + (self._newest() if restart else []))
        if marks:
            self.mark(marks)
        self.time_travel.roll(now)

    def _newest(self) -> list[ev.Event]:
        """The last event of each kind that a screen may wait for, of every lane."""
        return [
            event
            for lane in self.context.state.lanes.values()
            for events in (
                lane.steps[-1:], lane.switches[-1:], lane.changes[-1:], lane.benches[-1:],
                lane.chats[-1:], list(lane.lenses.values())[-1:],
            )
            for event in events
        ]  # fmt: skip

    def _announce(self, event: ev.Event) -> None:
        if isinstance(event, ev.Resumed):
            self.training.rewound(event)
        announce(self.context, event, overlay_open=bool(self.listeners))

    def _watch_engine(self) -> None:
        """Notice that the engine ended or the run failed. Called only when the file had nothing
        new, so that the engine's last events are shown first."""
        context = self.context
        if context.engine is not None and context.exit_code is None:
            context.exit_code = context.engine.exit_code
            if context.exit_code is not None:
                self.mark({"end"})
                return  # read the file once more first
        if context.leaving is not None and context.exit_code is not None:
            self.app.exit(0)
        lost = context.exit_code is not None and context.state.ended is None
        if (
            (context.state.failed or lost)
            and not context.failure_shown
            and context.mode != "replay"
        ):
            context.failure_shown = True
            from grpolab.tui.lab.dialogs.failure import Failure

            self.app.push_screen(Failure(context))

    @property
    def begun(self) -> bool:
        """Whether there is a rollout to show in the panes."""
        return any(lane.rollouts for lane in self.context.state.lanes.values())

    def boxes(self) -> dict[str, Rect]:
        """The visible panes' rectangles in the body, by name."""
        return self.query_one(Body).boxes

    def relayout(self) -> None:
        """Decide which panes are visible, and where."""
        if not self.panes:
            return
        body, begun = self.query_one(Body), self.begun or self.context.failure_shown
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
            self.navigation.select(action, argument, again)

    # asked for by the screens over the lab

    def send(self, command: dict[str, Any], told: str = "") -> bool:
        return self.training.send(command, told)

    def ask_rewind(self, to: int) -> None:
        self.training.ask_rewind(to)

    def ask_fork(self, checkpoint: int | None) -> None:
        self.training.ask_fork(checkpoint)

    def go_to(self, step: int) -> None:
        self.time_travel.go_to(step)

    def ask_note(self, step: int, lane: str, then: Callable[[], None]) -> None:
        self.time_travel.ask_note(step, lane, then)

    def select(self, what: str, value: object) -> None:
        self.navigation.select(what, value)

    def visit(
        self,
        lane: str,
        step: int,
        prompt: int,
        answer: int,
        *,
        pane: str,
        zoom: bool = False,
        rollout: RolloutView | None = None,
        name: str = "",
        screens: tuple[Opens, ...] = (),
    ) -> None:
        self.navigation.visit(
            lane, step, prompt, answer,
            pane=pane, zoom=zoom, rollout=rollout, name=name, screens=screens,
        )  # fmt: skip

    # actions: training (in the order of the tables in `keys`)

    def action_algorithm(self) -> None:
        self.training.switch_algorithm()

    def action_pause(self) -> None:
        self.training.pause()

    def action_single(self) -> None:
        self.training.one_step()

    def action_setting(self) -> None:
        self.training.settings()

    def action_evaluate(self) -> None:
        self.training.evaluate()

    def action_fork(self) -> None:
        self.training.ask_fork(None)

    def action_rewind(self) -> None:
        self.training.rewind()

    def action_checkpoint(self) -> None:
        self.training.checkpoint()

    # actions: look

    def action_hold(self) -> None:
        self.navigation.hold_or_follow()

    def action_prompt_next(self) -> None:
        self.navigation.move_prompt(1)

    def action_prompt_previous(self) -> None:
        self.navigation.move_prompt(-1)

    def action_answer_next(self) -> None:
        self.navigation.move_answer(1)

    def action_answer_previous(self) -> None:
        self.navigation.move_answer(-1)

    def action_token_next(self) -> None:
        self.navigation.move_token(1)

    def action_token_previous(self) -> None:
        self.navigation.move_token(-1)

    def action_token_jump(self) -> None:
        self.navigation.move_token(10)

    def action_token_back(self) -> None:
        self.navigation.move_token(-10)

    def action_channel(self) -> None:
        self.navigation.next_channel(1)

    def action_channel_back(self) -> None:
        self.navigation.next_channel(-1)

    def action_second(self) -> None:
        self.navigation.next_second_channel(1)

    def action_second_back(self) -> None:
        self.navigation.next_second_channel(-1)

    def action_lane(self) -> None:
        self.navigation.next_lane()

    def action_older(self) -> None:
        self.time_travel.browse(-1)

    def action_newer(self) -> None:
        self.time_travel.browse(1)

    def action_jump_back(self) -> None:
        self.time_travel.browse(-JUMP)

    def action_jump_on(self) -> None:
        self.time_travel.browse(JUMP)

    def action_moment_previous(self) -> None:
        self.time_travel.next_mark(-1)

    def action_moment_next(self) -> None:
        self.time_travel.next_mark(1)

    def action_goto(self) -> None:
        self.time_travel.ask_step()

    def action_bookmark(self) -> None:
        self.time_travel.bookmark()

    def action_first(self) -> None:
        self.time_travel.first()

    def action_last(self) -> None:
        self.time_travel.last()

    def action_recorded(self) -> None:
        self.time_travel.nearest_recorded()

    def action_time(self) -> None:
        self.overlays.timeline()

    def action_group(self) -> None:
        self.overlays.group()

    def action_read(self) -> None:
        self.overlays.reader()

    def action_answers(self) -> None:
        self.overlays.search()

    def action_answer_copy(self) -> None:
        self.overlays.copy_answer()

    def action_answer_save(self) -> None:
        self.overlays.save_answer()

    def action_lens(self) -> None:
        self.overlays.lens()

    def action_formula(self) -> None:
        self.overlays.formulas()

    def action_chat(self) -> None:
        self.overlays.chat()

    def action_kl_bench(self) -> None:
        self.overlays.kl_bench()

    def action_curves(self) -> None:
        self.overlays.curves()

    def action_health(self) -> None:
        self.overlays.health()

    def action_memory_screen(self) -> None:
        self.overlays.memory()

    def action_trace(self) -> None:
        self.overlays.credit_trace()

    def action_slow(self) -> None:
        self.overlays.slow_motion()

    # actions: replay

    def action_play(self) -> None:
        self.time_travel.play()

    def action_slower(self) -> None:
        self.time_travel.change_speed(-1)

    def action_faster(self) -> None:
        self.time_travel.change_speed(1)

    # actions: panes

    def action_pane(self, name: str) -> None:
        if name in PANES and self.panes:
            self.navigation.show_pane(name)

    def action_pane_next(self) -> None:
        self.navigation.next_pane(1)

    def action_pane_previous(self) -> None:
        self.navigation.next_pane(-1)

    def action_open(self) -> None:
        self.navigation.open()

    def action_zoom(self) -> None:
        self.navigation.zoom()

    def action_page_down(self) -> None:
        self._scroll(1)

    def action_page_up(self) -> None:
        self._scroll(-1)

    def _scroll(self, pages: int) -> None:
        if pane := self.panes.get(self.context.current):
            pane.scroll(pages * max(1, pane.size.height - 4))

    # actions: lab

    def action_theme(self) -> None:
        self.app.theme = preferences.next_theme(self.context.palette)

    def action_layout(self) -> None:
        names = list(LAYOUTS)
        self.set_layout(names[(names.index(self.context.layout) + 1) % len(names)])

    def set_layout(self, name: str) -> None:
        """Arrange the panes by one of LAYOUTS, and remember it."""
        self.context.layout, self.context.zoom = name, False
        self.context.say(f"layout {name}: {LAYOUTS[name]}", "text")
        self.app.remember(layout=name)
        self.relayout()
        self.moved()

    def action_motion(self) -> None:
        how = preferences.next_motion(self.context)
        self.app.remember(motion=how)
        self.app.animation_level = "full" if how == "full" else "none"
        self.context.say(preferences.MOTIONS[how], "text")
        self.moved()

    def action_picture(self) -> None:
        self.app.picture()
        self.moved()

    def action_tour(self) -> None:
        self.overlays.tour()

    def action_glossary(self) -> None:
        self.overlays.glossary()

    def action_explain(self) -> None:
        from grpolab.tui.lab.dialogs.help import Help

        pane = self.panes.get(self.context.current)
        about = (pane.title, pane.explains) if pane else ("", "")
        self.app.push_screen(Help(self.context, *about))

    def action_session(self) -> None:
        self.training.export_scenario()

    def action_commands(self) -> None:
        self.app.action_command_palette()

    def action_back(self) -> None:
        self.navigation.back()

    def action_quit(self) -> None:
        """Leave. A live engine finishes its step first; asked twice, it is killed at once."""
        context = self.context
        if context.engine is None or context.engine.exit_code is not None:
            self.app.exit(0)
        elif context.leaving is None:
            context.leaving = time.monotonic()
            context.engine.stop()
            from grpolab.tui.lab.dialogs.failure import Leaving

            self.app.push_screen(Leaving(context))
            self.moved()
        else:
            context.engine.kill()
            self.app.exit(0)
