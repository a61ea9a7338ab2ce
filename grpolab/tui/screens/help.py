"""What a pane or a screen shows, and every key."""

from __future__ import annotations

from collections.abc import Sequence

from grpolab.tui.desk import Desk
from grpolab.tui.keys import ACTIONS, Action
from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line, wrap


class Help(Dialog[None]):
    def __init__(
        self,
        desk: Desk,
        about: str = "",
        explains: str = "",
        actions: Sequence[Action] = ACTIONS,
        mouse: str = "click a prompt, an answer (once more: open it), a token, a channel, "
        "a metric, a curve, a pane, a key below",
    ) -> None:
        super().__init__(desk)
        self.about, self.explains = about, explains
        self.actions, self.mouse = actions, mouse

    def title_text(self) -> str:
        return f"{self.about}: what it shows" if self.about else "Help"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        out: list[Line] = []
        for paragraph in self.explains.split("\n"):
            out += [Line(row, p.style("text")) for row in wrap(paragraph, width)]
        group = ""
        for action in self.actions:
            if self.desk.mode not in action.modes or not action.help:
                continue
            if action.group != group:
                group = action.group
                out += [Line(), Line(group, p.style("accent", bold=True))]
            line = Line("  ").cell(
                self.desk.keymap.shown(action, every=True), 9, p.style("text", bold=True)
            )
            out.append(line.add(" ").cell(action.help, max(1, width - 12), p.style("dim")))
        return [*out, Line(), Line(f"mouse: {self.mouse}", p.style("faint"))]
