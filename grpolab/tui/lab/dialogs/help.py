"""Help: what a pane or a screen shows, and every key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events

from grpolab.tui.context import AppContext
from grpolab.tui.keys import ACTIONS, Action
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.dialog import Dialog
from grpolab.tui.widgets.text import Line, wrap

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp


class Help(Dialog[None]):
    def __init__(
        self,
        context: AppContext,
        about: str = "",
        explains: str = "",
        actions: Sequence[Action] = ACTIONS,
        mouse: str = "click a prompt, an answer (again: open it), a token, a channel, "
        "a metric, a curve, a pane, a key below",
    ) -> None:
        super().__init__(context)
        self.about, self.explains = about, explains
        self.actions, self.mouse = actions, mouse

    def title_text(self) -> str:
        return f"{self.about}: what it shows" if self.about else "Help"

    def rows(self, width: int) -> list[Line]:
        p = self.context.palette
        out: list[Line] = []
        for paragraph in self.explains.split("\n"):
            out += [Line(row, p.style("text")) for row in wrap(paragraph, width)]
        group = ""
        for action in self.actions:
            if self.context.mode not in action.modes or not action.help:
                continue
            if action.group != group:
                group = action.group
                out += [Line(), Line(group, p.style("accent", bold=True))]
            line = Line("  ").cell(
                self.context.keymap.shown(action, every=True), 9, p.style("text", bold=True)
            )
            out.append(line.add(" ").cell(action.help, max(1, width - 12), p.style("dim")))
        key = self.context.keymap.shown("glossary")
        words = Line("  ").cell(key, 9, p.style("text", bold=True)).add(" ")
        words.add("every term on the screen, explained", p.style("dim"), ("words", 0))
        head = Line("Not clear?", p.style("accent", bold=True))
        tour = Line("  ").cell(self.context.keymap.shown("tour"), 9, p.style("text", bold=True))
        tour.add(" ").add("a guided tour of the lab", p.style("dim"), ("tour", 0))
        more = [Line(), head, words, tour]
        mouse = [Line(row, p.style("faint")) for row in wrap(f"mouse: {self.mouse}", width)]
        return [*out, *more, Line(), *mouse]

    def keys_text(self) -> str:
        keymap = self.context.keymap
        return f"{keymap.shown('glossary')} glossary · {keymap.shown('tour')} tour · esc close"

    async def action_lab(self, name: str) -> None:
        if name == "explain":  # help on help is none
            self.dismiss(None)
        else:
            await super().action_lab(name)

    def on_key(self, event: events.Key) -> None:
        """The lab's keys of the glossary and the tour open them from here."""
        for name in ("glossary", "tour"):
            if event.key in self.context.keymap.keys[name].split(","):
                event.stop()
                self._open(name)

    def _open(self, name: str) -> None:
        app = cast("LabApp", self.app)
        if name == "glossary":
            app.lab.action_glossary()
            return
        while app.screen is not app.lab:  # the tour is about the lab itself
            app.pop_screen()
        app.lab.action_tour()

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        what = message.hit[0]
        if what in ("words", "tour"):
            self._open("glossary" if what == "words" else "tour")
