"""What the keys do. Each method is one action of the table in `keys`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import preferences
from grpolab.tui.lab.navigation import Navigation
from grpolab.tui.lab.time_travel import TimeTravel
from grpolab.tui.widgets.layout import LAYOUTS, PANES

if TYPE_CHECKING:
    from grpolab.tui.widgets.canvas import Pane


class Actions(Navigation, TimeTravel):
    """The actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        panes: dict[str, Pane]

        def mark(self, marks: set[str]) -> None: ...
        def relayout(self) -> None: ...

    # looking

    def action_hold(self) -> None:
        view, state = self.context.view, self.context.state
        if view.held is not None:
            view.browse_to(state, None)
            self.context.back_stack.clear()
        else:
            view.hold(state)
        self.moved()

    def action_prompt_next(self) -> None:
        self._view("move_prompt", 1)

    def action_prompt_previous(self) -> None:
        self._view("move_prompt", -1)

    def action_answer_next(self) -> None:
        self._view("move_answer", 1)

    def action_answer_previous(self) -> None:
        self._view("move_answer", -1)

    def action_token_next(self) -> None:
        self._view("move_token", 1)

    def action_token_previous(self) -> None:
        self._view("move_token", -1)

    def action_token_jump(self) -> None:
        self._view("move_token", 10)

    def action_token_back(self) -> None:
        self._view("move_token", -10)

    def action_channel(self) -> None:
        self._view("next_channel", 1)

    def action_channel_back(self) -> None:
        self._view("next_channel", -1)

    def action_second(self) -> None:
        self._view("next_second", 1)

    def action_second_back(self) -> None:
        self._view("next_second", -1)

    def _view(self, move: str, by: int) -> None:
        if move == "move_token" and self.on_curve:
            self.move_cursor(by)
            return
        getattr(self.context.view, move)(self.context.state, by)
        self.moved()

    def action_lane(self) -> None:
        held = self.context.view.held
        if not self.context.view.next_lane(self.context.state):
            self.context.say("this run has one lane")
        elif held is not None and self.context.view.held is None:
            self.hold_at(self.context.view.lane, held.step)
        self.mark({"lane"})
        self.moved()

    def select(self, what: str, value: object, again: bool = False) -> None:
        """A click on a prompt, an answer, a token, a channel or a metric. `again`: in the pane
        that was spoken to already; there, a click on what is selected opens it."""
        view = self.context.view
        if again and what == "prompt" and value == view.prompt:
            self.action_group()
        elif again and what == "answer" and value == view.answer:
            self.action_read()
        elif what == "prompt" and isinstance(value, int):
            view.prompt, view.token = value, 0
        elif what == "answer" and isinstance(value, int):
            view.answer, view.token = value, 0
        elif what == "token" and isinstance(value, int):
            view.token = value
        elif what == "channel":
            view.channel = str(value)
        elif what == "curve" and isinstance(value, float):
            self.put_cursor(value)
        elif what == "metric":
            self.context.say(f"{value}: {METRICS.get(str(value), '')}", "text")
        self.moved()

    # screens over the lab

    def action_lens(self) -> None:
        if self._lane_known():
            from grpolab.tui.lens.screen import LensScreen

            self.app.push_screen(LensScreen(self.context))

    def action_formula(self) -> None:
        if self._lane_known():
            from grpolab.tui.formulas.screen import FormulaScreen

            self.app.push_screen(FormulaScreen(self.context))

    def action_chat(self) -> None:
        if self._lane_known():
            from grpolab.tui.chat.screen import ChatScreen

            self.app.push_screen(ChatScreen(self.context))

    def action_kl_bench(self) -> None:
        if self._lane_known():
            from grpolab.tui.kl_bench.screen import KlBenchScreen

            self.app.push_screen(KlBenchScreen(self.context))

    def action_curves(self) -> None:
        if self._lane_known():
            from grpolab.tui.curves.screen import CurvesScreen

            here = {"kl": ("kl_ref", "kl_old"), "learning": ("reward", "test accuracy")}
            self.app.push_screen(CurvesScreen(self.context, here.get(self.context.current, ())))

    def action_health(self) -> None:
        if self._lane_known():
            from grpolab.tui.health.screen import HealthScreen

            self.app.push_screen(HealthScreen(self.context))

    def action_memory_screen(self) -> None:
        if self._lane_known():
            from grpolab.tui.memory.screen import MemoryScreen

            self.app.push_screen(MemoryScreen(self.context))

    def action_trace(self) -> None:
        if self._lane_known():
            from grpolab.tui.credit_trace.screen import TraceScreen

            self.app.push_screen(TraceScreen(self.context))

    def action_slow(self) -> None:
        if self._lane_known():
            from grpolab.tui.slow_motion.screen import SlowScreen

            self.app.push_screen(SlowScreen(self.context))

    def _lane_known(self) -> bool:
        if self.context.view.lane_state(self.context.state) is not None:
            return True
        self.context.say("there is no lane yet", "warn")
        self.moved()
        return False

    # panes

    def action_pane(self, name: str) -> None:
        if name in PANES and self.panes:
            self.context.current = name
            self.relayout()
            self.moved()

    def action_pane_next(self) -> None:
        self.action_pane(PANES[(PANES.index(self.context.current) + 1) % len(PANES)])

    def action_pane_previous(self) -> None:
        self.action_pane(PANES[(PANES.index(self.context.current) - 1) % len(PANES)])

    def action_zoom(self) -> None:
        self.context.zoom = not self.context.zoom
        self.relayout()
        self.moved()

    def action_page_down(self) -> None:
        if pane := self.panes.get(self.context.current):
            pane.scroll(max(1, pane.size.height - 4))

    def action_page_up(self) -> None:
        if pane := self.panes.get(self.context.current):
            pane.scroll(-max(1, pane.size.height - 4))

    # lab

    def action_theme(self) -> None:
        self.app.theme = preferences.next_theme(self.context.palette)

    def action_layout(self) -> None:
        """How the panes share the screen: the next way."""
        names = list(LAYOUTS)
        self.set_layout(names[(names.index(self.context.layout) + 1) % len(names)])

    def set_layout(self, name: str) -> None:
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
        from grpolab.tui.tour.screen import Tour

        self.app.push_screen(Tour(self.context))

    def action_glossary(self) -> None:
        from grpolab.tui.glossary.screen import Glossary

        self.app.push_screen(Glossary(self.context))

    def action_explain(self) -> None:
        from grpolab.tui.lab.dialogs.help import Help

        pane = self.panes.get(self.context.current)
        about = (pane.title, pane.explains) if pane else ("", "")
        self.app.push_screen(Help(self.context, *about))

    def action_commands(self) -> None:
        self.app.action_command_palette()

    def action_back(self) -> None:
        back_stack = self.context.back_stack
        if back_stack and not (self.context.zoom and not back_stack[-1].zoomed):
            self.go_back()
        elif self.context.zoom:
            self.action_zoom()
        elif self.context.current in ("learning", "kl") and self.context.view.cursor is not None:
            self.context.view.cursor = None
            self.moved()
        elif self.context.view.held is not None:
            self.action_hold()

    def action_quit(self) -> None:
        """Leave. A live engine finishes its step first; asked twice, it is ended at once."""
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
