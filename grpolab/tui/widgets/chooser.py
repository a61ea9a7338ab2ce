"""A dialog with a list to choose from: it scrolls, and what is typed narrows it down."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from textual import events
from textual.binding import Binding, BindingType

from grpolab.tui.context import AppContext
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.dialog import Dialog
from grpolab.tui.widgets.text import Line, visible

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

    def section(self, name: str) -> str:
        """The heading under which an entry stands; none if empty."""
        return ""

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
        """The entries that match what was typed: the one of that very name, those that begin with
        it, the rest."""
        found = [n for n in self.names() if self.typed in n.lower()]
        return sorted(found, key=lambda n: closeness(n.lower(), self.typed))

    @property
    def name_here(self) -> str | None:
        left = self.left
        return left[min(self.at, len(left) - 1)] if left else None

    def rows(self, width: int) -> list[Line]:
        left, here = self.left, self.name_here
        more = self.about(here, width) if here is not None else []
        room = self.app.size.height * 9 // 10 - 5 - len(more)  # as high as a card may be
        listed, at = self.listed(left, here, width)
        tall = min(self.longest(), max(self.least, room))
        out = [self._filter(len(left), width)]
        out += [listed[i] for i in window(len(listed), at, tall)]
        out += [Line() for _ in range(1 + tall - len(out))]  # the card keeps its height
        return out + more

    def longest(self) -> int:
        """Rows of the whole list, with its headings."""
        sections = [self.section(n) for n in self.names()]
        heads = [b for a, b in zip(["", *sections], sections, strict=False) if a != b]
        return len(sections) + len(heads)

    def listed(self, left: list[str], here: str | None, width: int) -> tuple[list[Line], int]:
        """The rows of the list, with a heading over each section unless it is narrowed down, and
        which of them is the chosen entry's."""
        p = self.context.palette
        out: list[Line] = []
        section, at = "", 0
        for i, name in enumerate(left):
            if not self.typed and self.section(name) != section:
                section = self.section(name)
                head = Line(f"  {visible(section)} ", p.style("accent", bold=True))
                out.append(head.add("─" * max(0, width - head.width), p.style("line")))
            at = len(out) if name == here else at
            line = self.entry(name, name == here, width).to(width).whole(("choose", i), width)
            out.append(line.on(p.style("", "raised")) if name == here else line)
        return out, at

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
            self.narrow(self.typed + self.written(char))

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        text = "".join(self.written(c) for c in event.text if self.typing(c))
        if text:
            self.narrow(self.typed + text)

    def typing(self, char: str) -> bool:
        """Whether a key belongs to the filter."""
        return len(char) == 1 and char.isprintable() and not char.isspace()

    def written(self, char: str) -> str:
        """What a key adds to what was typed."""
        return char.lower()

    def narrow(self, typed: str) -> None:
        """Narrow the list down to what matches."""
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
            self.narrow(self.typed[:-1])

    def action_close(self) -> None:
        if self.typed:
            self.narrow("")
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


def closeness(name: str, typed: str) -> int:
    """How a name matches what was typed: 0 it is the name, 1 its beginning, 2 a part of it."""
    return 0 if name == typed else 1 if name.startswith(typed) else 2
