"""A dialog that asks for one line: a step, a note, a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from grpolab.tui.desk import Desk
from grpolab.tui.screens.dialog import Card, Dialog
from grpolab.tui.text import Line, visible, wrap


class Entry(Dialog[str], inherit_bindings=False):
    """Gives what was typed, once `check` finds nothing wrong with it, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
        Binding("ctrl+c", "close", "close", show=False, priority=True),
    ]

    def __init__(
        self, desk: Desk, title: str, told: Sequence[tuple[str, str]], *, value: str = "",
        keys: str = "↵ go", check: Callable[[str], object] = lambda text: None,
    ) -> None:  # fmt: skip
        super().__init__(desk)
        self.heading, self.told, self.value, self.keys, self.check = title, told, value, keys, check
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        yield Input(self.value, id="value", compact=True)

    def title_text(self) -> str:
        return self.heading

    def keys_text(self) -> str:
        return f"{self.keys} · esc stay"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        told = [*self.told, *([(self.problem, "bad")] if self.problem else [])]
        return [Line(row, p.style(colour)) for text, colour in told for row in wrap(text, width)]

    def on_input_changed(self) -> None:
        if self.problem:
            self.problem = ""
            self.again()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        try:
            self.check(text)
        except ValueError as error:
            self.problem = visible(str(error))
            self.again()
        else:
            self.dismiss(text)
