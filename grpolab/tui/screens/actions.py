"""What the keys do. Each method is one action of the table in `keys`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from grpolab.events import METRICS
from grpolab.tui.arrange import PANES
from grpolab.tui.palette import DARK, LIGHT
from grpolab.tui.screens.travel import Travel

if TYPE_CHECKING:
    from grpolab.tui.panes.base import Pane


class Actions(Travel):
    """The actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        panes: dict[str, Pane]

        def mark(self, marks: set[str]) -> None: ...
        def relayout(self) -> None: ...

    # looking

    def action_hold(self) -> None:
        view, state = self.desk.view, self.desk.state
        if view.held is not None:
            view.browse_to(state, None)
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

    def _view(self, move: str, by: int) -> None:
        getattr(self.desk.view, move)(self.desk.state, by)
        self.moved()

    def action_lane(self) -> None:
        if not self.desk.view.next_lane(self.desk.state):
            self.desk.say("this run has one lane")
        self.mark({"lane"})
        self.moved()

    def select(self, what: str, value: object) -> None:
        """A click on a prompt, an answer, a token, a channel or a metric."""
        view = self.desk.view
        if what == "prompt" and isinstance(value, int):
            view.prompt, view.token = value, 0
        elif what == "answer" and isinstance(value, int):
            view.answer, view.token = value, 0
        elif what == "token" and isinstance(value, int):
            view.token = value
        elif what == "channel":
            view.channel = str(value)
        elif what == "metric":
            self.desk.say(f"{value}: {METRICS.get(str(value), '')}", "text")
        self.moved()

    # screens over the lab

    def action_lens(self) -> None:
        if self._lane_known():
            from grpolab.tui.screens.lens import LensScreen

            self.app.push_screen(LensScreen(self.desk))

    def action_formula(self) -> None:
        if self._lane_known():
            from grpolab.tui.screens.formula import FormulaScreen

            self.app.push_screen(FormulaScreen(self.desk))

    def action_chat(self) -> None:
        if self._lane_known():
            from grpolab.tui.screens.chat import ChatScreen

            self.app.push_screen(ChatScreen(self.desk))

    def action_kl_bench(self) -> None:
        if self._lane_known():
            from grpolab.tui.screens.kl_bench import KlBenchScreen

            self.app.push_screen(KlBenchScreen(self.desk))

    def _lane_known(self) -> bool:
        if self.desk.view.lane_state(self.desk.state) is not None:
            return True
        self.desk.say("there is no lane yet", "warn")
        self.moved()
        return False

    # panes

    def action_pane(self, name: str) -> None:
        if name in PANES and self.panes:
            self.desk.current = name
            self.relayout()
            self.moved()

    def action_pane_next(self) -> None:
        self.action_pane(PANES[(PANES.index(self.desk.current) + 1) % len(PANES)])

    def action_pane_previous(self) -> None:
        self.action_pane(PANES[(PANES.index(self.desk.current) - 1) % len(PANES)])

    def action_zoom(self) -> None:
        self.desk.zoom = not self.desk.zoom
        self.relayout()
        self.moved()

    def action_page_down(self) -> None:
        if pane := self.panes.get(self.desk.current):
            pane.scroll(max(1, pane.size.height - 4))

    def action_page_up(self) -> None:
        if pane := self.panes.get(self.desk.current):
            pane.scroll(-max(1, pane.size.height - 4))

    # lab

    def action_theme(self) -> None:
        self.app.theme = (LIGHT if self.desk.palette.dark else DARK).name

    def action_explain(self) -> None:
        from grpolab.tui.screens.help import Help

        pane = self.panes.get(self.desk.current)
        about = (pane.title, pane.explains) if pane else ("", "")
        self.app.push_screen(Help(self.desk, *about))

    def action_commands(self) -> None:
        self.app.action_command_palette()

    def action_back(self) -> None:
        if self.desk.zoom:
            self.action_zoom()
        elif self.desk.view.held is not None:
            self.action_hold()

    def action_quit(self) -> None:
        """Leave. A live engine finishes its step first; asked twice, it is ended at once."""
        desk = self.desk
        if desk.engine is None or desk.engine.exit_code is not None:
            self.app.exit(0)
        elif desk.leaving is None:
            desk.leaving = time.monotonic()
            desk.engine.stop()
            from grpolab.tui.screens.leaving import Leaving

            self.app.push_screen(Leaving(desk))
            self.moved()
        else:
            desk.engine.kill()
            self.app.exit(0)
