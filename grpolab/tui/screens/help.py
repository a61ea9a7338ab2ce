"""What the current pane shows, and every key."""

from __future__ import annotations

from grpolab.tui.desk import Desk
from grpolab.tui.keys import ACTIONS
from grpolab.tui.panes.base import Pane
from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line, wrap


class Help(Dialog[None]):
    def __init__(self, desk: Desk, pane: Pane | None) -> None:
        super().__init__(desk)
        self.pane = pane

    def title_text(self) -> str:
        return f"{self.pane.title}: what it shows" if self.pane else "Help"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        out: list[Line] = []
        for paragraph in (self.pane.explains if self.pane else "").split("\n"):
            out += [Line(row, p.style("text")) for row in wrap(paragraph, width)]
        group = ""
        for action in ACTIONS:
            if self.desk.mode not in action.modes:
                continue
            if action.group != group:
                group = action.group
                out += [Line(), Line(group, p.style("accent", bold=True))]
            line = Line("  ").cell(
                self.desk.keymap.shown(action.name, every=True), 9, p.style("text", bold=True)
            )
            out.append(line.add(" ").cell(action.help, max(1, width - 12), p.style("dim")))
        out += [
            Line(),
            Line(
                "mouse: click a prompt, an answer, a token, a channel, a pane, a key below",
                p.style("faint"),
            ),
        ]
        return out
