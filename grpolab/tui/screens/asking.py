"""One question with a field to type into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.widgets import Input

from grpolab.tui.desk import Desk
from grpolab.tui.screens.dialog import Card, Dialog
from grpolab.tui.text import Line, visible, wrap


class Asking(Dialog[Any]):
    """Gives what `read` makes of the text; None where it was closed. `read` raises ValueError with
    one line on what is wrong."""

    def __init__(
        self, desk: Desk, title: str, about: str, value: str, read: Callable[[str], Any]
    ) -> None:
        super().__init__(desk)
        self.title_, self.about, self.value, self.read = title, about, value, read
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        yield Input(self.value, id="value", compact=True)

    def on_mount(self) -> None:
        entry = self.query_one(Input)
        entry.cursor_blink = not (self.desk.reduced_motion or self.desk.ssh)
        entry.focus()

    def title_text(self) -> str:
        return self.title_

    def keys_text(self) -> str:
        return "↵ take it · esc leave it"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        out = [
            Line(x, p.style("text")) for part in self.about.split("\n") for x in wrap(part, width)
        ]
        return out + [Line(x, p.style("bad")) for x in wrap(self.problem, width) if x]

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.dismiss((self.read(event.value.strip()),))
        except ValueError as error:
            self.problem = visible(str(error))
            self.again()
