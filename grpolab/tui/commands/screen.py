"""The dialog behind `:`: what is typed narrows the list of all commands down, Enter carries the
first one out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.screen import Screen

from grpolab.tui.commands.model import Command, Do, argument, commands, completed, matching
from grpolab.tui.context import AppContext
from grpolab.tui.widgets.chooser import Chooser
from grpolab.tui.widgets.text import Line, clip, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp

NAME = 30  # cells of the name and what it takes


class CommandLine(Chooser[Do]):
    """Gives what is to be done, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "complete", "complete", show=False),
        Binding("enter", "choose", "run", show=False),
    ]
    least = 8

    def __init__(self, context: AppContext, screen: Screen[Any]) -> None:
        """`screen`: the one whose actions come first."""
        super().__init__(context)
        self.known = {c.name: c for c in commands(cast("LabApp", screen.app), screen)}
        self.problem = ""

    def title_text(self) -> str:
        return "Commands"

    def keys_text(self) -> str:
        return "↑↓ choose · tab complete · ↵ run · esc close"

    def names(self) -> list[str]:
        return list(self.known)

    @property
    def left(self) -> list[str]:
        return [c.name for c in matching(list(self.known.values()), self.typed)]

    def section(self, name: str) -> str:
        return self.known[name].group

    def typing(self, char: str) -> bool:
        return super().typing(char) or (char == " " and bool(self.typed))

    def written(self, char: str) -> str:
        return char  # a lane's name may have capitals

    def on_key(self, event: events.Key) -> None:
        if event.key == "colon" and not self.typed:
            event.stop()  # `::` is `:`
            return
        super().on_key(event)

    def entry(self, name: str, here: bool, width: int) -> Line:
        p, command = self.context.palette, self.known[name]
        line = Line("▸ " if here else "  ", p.style("accent"))
        shown = Line(visible(name), p.style("accent" if here else "text", bold=True))
        if command.takes:
            shown.add(f" {command.takes}", p.style("faint"))
        line.join(shown.to(min(NAME, max(12, width // 3)))).add(" ")
        key = Line(f" {command.key}", p.style("dim"))
        room = max(0, width - line.width - key.width)
        line.add(clip(command.told, room), p.style("dim"))
        return line.to(width - key.width).join(key)

    def about(self, name: str, width: int) -> list[Line]:
        p, command = self.context.palette, self.known[name]
        told = [(visible(command.told), "text")]
        if command.values:
            given = argument(self.typed).lower()
            values = [v for v in command.values if v.lower().startswith(given)] or command.values
            told.append((f"{command.takes}: {', '.join(map(visible, values))}", "dim"))
        if self.problem:
            told.append((visible(self.problem), "bad"))
        return [
            Line(),
            *(Line(row, p.style(colour)) for text, colour in told for row in wrap(text, width)),
        ]

    def chosen(self) -> None:
        self.problem = ""

    def action_close(self) -> None:
        self.dismiss(None)

    def action_complete(self) -> None:
        if self.name_here is not None:
            self.narrow(completed(self.known[self.name_here], self.typed))

    def action_choose(self) -> None:
        if self.name_here is None:
            return
        command: Command = self.known[self.name_here]
        try:
            do = command.prepare(argument(self.typed) if command.takes else "")
        except ValueError as error:
            self.problem = str(error)
            self.again()
        else:
            self.dismiss(do)
