"""A dialog with a list to choose from: it scrolls, and what is typed narrows it down."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from textual import events
from textual.binding import Binding, BindingType

from grpolab.tui.context import AppContext
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.dialog import Dialog
from grpolab.tui.widgets.text import Line

Result = TypeVar("Result")


class Chooser(Dialog[Result], inherit_bindings=False):
    """Base of the dialogs with a list. A subclass names its entries, draws one, says more about the
    chosen one, and does something with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("up", "move(-1)", "up", show=False),
        Binding("home", "move(-999)", "first", show=False),
        Binding("end", "move(999)", "last", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("enter,space", "choose", "choose", show=False),
        Binding("backspace", "erase", "erase", show=False),
        Binding("ctrl+c", "dismiss(None)", "close", show=False, priority=True),
    ]
    scrolls = "pgdn"
    least = 5
    """Least rows of the list, however much there is to say below it."""

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.at = 0  # among the entries that are left
        self.typed = ""

    # what a subclass gives

    def names(self) -> list[str]:
        """What typing is compared with, for all entries."""
        raise NotImplementedError

    def entry(self, name: str, here: bool, width: int) -> Line:
        raise NotImplementedError

    def about(self, name: str, width: int) -> list[Line]:
        """More about the chosen entry."""
        raise NotImplementedError

    def action_choose(self) -> None:
        raise NotImplementedError

    def chosen(self) -> None:
        """Another entry is chosen."""

    # the list

    @property
    def left(self) -> list[str]:
        """The entries that match what was typed: those that begin with it first."""
        found = [n for n in self.names() if self.typed in n.lower()]
        return sorted(found, key=lambda n: not n.lower().startswith(self.typed))

    @property
    def name_here(self) -> str | None:
        left = self.left
        return left[min(self.at, len(left) - 1)] if left else None

    def rows(self, width: int) -> list[Line]:
        p, left, here = self.context.palette, self.left, self.name_here
        more = self.about(here, width) if here is not None else []
        room = self.app.size.height * 9 // 10 - 5 - len(more)  # as high as a card may be
        tall = min(len(self.names()), max(self.least, room))
        out = [self._filter(len(left), width)]
        for i in window(len(left), min(self.at, len(left) - 1), tall):
            line = self.entry(left[i], left[i] == here, width)
            line.to(width).whole(("choose", i), width)
            out.append(line.on(p.style("", "raised")) if left[i] == here else line)
        out += [Line() for _ in range(1 + tall - len(out))]  # the card keeps its height
        return out + more

    def _filter(self, left: int, width: int) -> Line:
        p, total = self.context.palette, len(self.names())
        line = Line("  ")
        if self.typed:
            line.add(self.typed, p.style("accent", bold=True)).add("▌", p.style("accent"))
            told = f"{left} of {total}" if left else "nothing matches; esc starts again"
            return line.add(f"  {told}", p.style("dim" if left else "warn"))
        return line.add(f"{total} · type to narrow down", p.style("faint"))

    def on_key(self, event: events.Key) -> None:
        char = event.character or ""
        if self.typing(char):
            event.stop()
            event.prevent_default()
            self._narrow(self.typed + char.lower())

    def typing(self, char: str) -> bool:
        """Whether a key belongs to the filter."""
        return len(char) == 1 and char.isprintable() and not char.isspace()

    def _narrow(self, typed: str) -> None:
        here = self.name_here
        self.typed = typed
        left = self.left
        self.at = left.index(here) if here in left and not typed else 0
        self.card.top = 0
        self.chosen()
        self.again()

    def go(self, at: int) -> None:
        self.at = at
        self.card.top = 0
        self.chosen()
        self.again()

    def action_move(self, by: int) -> None:
        n = len(self.left)
        if n:
            at = min(self.at, n - 1) + by
            self.go(at % n if abs(by) == 1 else max(0, min(n - 1, at)))

    def action_erase(self) -> None:
        if self.typed:
            self._narrow(self.typed[:-1])

    def action_close(self) -> None:
        if self.typed:
            self._narrow("")
        else:
            self.dismiss(None)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        self.clicked(*message.hit)

    def clicked(self, what: str, value: Any) -> None:
        if what == "choose":
            if value == self.at:
                self.action_choose()
            else:
                self.go(int(value))
