"""A card in the middle of the screen, over the lab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Input

from grpolab.tui.context import AppContext
from grpolab.tui.keys import ANYWHERE, TRAINING
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.text import Line, clip, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp

Result = TypeVar("Result")


class Card(Canvas):
    """A box as high as what the dialog has to say; longer ones scroll."""

    watches = frozenset({"select"})

    def __init__(self, dialog: Dialog[Any]) -> None:
        super().__init__(dialog.context, id="card")
        self.dialog = dialog
        self.top = 0

    @property
    def ground(self) -> str:
        return "bar"

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return min(len(self.dialog.rows(max(1, width - 6))) + 4, max(5, viewport.height - 2))

    def lines(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        edge = p.style("accent")
        rows = [Line(), *self.dialog.rows(max(1, width - 6)), Line()]
        room = height - 2
        self.top = max(0, min(self.top, len(rows) - room))
        title = clip(self.dialog.title_text(), width - 8)
        out = [Line("╭─ ", edge).add(title, p.style("text", bold=True)).add(" ")]
        out[0].add("─" * max(0, width - out[0].width - 1), edge).add("╮", edge)
        for row in rows[self.top : self.top + room]:
            line = Line("│", edge).add("  ").join(row)
            out.append(line.to(width - 1).add("│", edge))
        hint = f" {self.dialog.keys_text()} "
        if len(rows) > room:
            hint = f" {self.dialog.scrolls} {self.top + room}/{len(rows)} ·{hint}"
        hint = clip(hint, width - 4)
        out.append(
            Line("╰", edge)
            .add("─" * (width - 3 - len(hint)), edge)
            .add(hint, p.style("dim"))
            .add("─╯", edge)
        )
        return out


IN_DIALOGS = [a for a in ANYWHERE if a.group == TRAINING or a.name in ("theme", "explain")]
"""The lab's actions that work in a dialog too."""


class Dialog(ModalScreen[Result]):
    """Base of the dialogs: gives rows, a title, and the keys that it understands."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "close", show=False),
        Binding("down", "down", "down", show=False),
        Binding("up", "up", "up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("ctrl+c", "close", "close", show=False, priority=True),
        *(Binding(a.keys, f"lab('{a.name}')", id=a.name, show=False) for a in IN_DIALOGS),
    ]

    asks: ClassVar[bool] = False
    """Whether it waits for an answer: the lab's keys then say so instead of passing it over."""

    scrolls: ClassVar[str] = "↑↓"
    """The keys that scroll what is too long."""

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context

    def compose(self) -> ComposeResult:
        yield Card(self)

    @property
    def card(self) -> Card:
        return self.query_one(Card)

    def rows(self, width: int) -> list[Line]:
        raise NotImplementedError

    def title_text(self) -> str:
        raise NotImplementedError

    def keys_text(self) -> str:
        return "esc close"

    def again(self) -> None:
        """Its content changed."""
        for card in self.query(Card):  # none, before it is mounted
            card.refresh(layout=True)
            card.paint()

    def action_close(self) -> None:
        self.dismiss(None)

    async def action_lab(self, name: str) -> None:
        """Do what the key does everywhere; a dialog makes room for another."""
        app = cast("LabApp", self.app)
        if name == "theme":
            app.lab.action_theme()
            self.again()
        elif self.asks:
            self.context.say(f"first answer this: {self.keys_text()}", "warn")
            app.lab.moved()
        else:
            if name in ("algorithm", "explain"):
                self.dismiss(None)
            await self.app.run_action(name, app.lab)

    def action_down(self) -> None:
        self.card.top += 1
        self.card.paint()

    def action_up(self) -> None:
        self.card.top = max(0, self.card.top - 1)
        self.card.paint()

    def action_page(self, by: int) -> None:
        self.card.top = max(0, self.card.top + by * max(1, self.card.size.height - 4))
        self.card.paint()


class Asking(Dialog[Any]):
    """One question with a field: gives what `read` makes of the text; None where it was closed.
    `read` raises ValueError with one line on what is wrong."""

    def __init__(
        self, context: AppContext, title: str, about: str, value: str, read: Callable[[str], Any]
    ) -> None:
        super().__init__(context)
        self.title_, self.about, self.value, self.read = title, about, value, read
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        yield Input(self.value, id="value", compact=True)

    def on_mount(self) -> None:
        entry = self.query_one(Input)
        entry.cursor_blink = not (self.context.reduced_motion or self.context.ssh)
        entry.focus()

    def title_text(self) -> str:
        return self.title_

    def keys_text(self) -> str:
        return "↵ apply · esc cancel"

    def rows(self, width: int) -> list[Line]:
        p = self.context.palette
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


class Entry(Dialog[str], inherit_bindings=False):
    """Asks for one line (a step, a note, a name): gives what was typed once `check` accepts it, or
    None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", show=False),
        Binding("ctrl+c", "close", "close", show=False, priority=True),
    ]

    def __init__(
        self, context: AppContext, title: str, told: Sequence[tuple[str, str]], *, value: str = "",
        keys: str = "↵ go", check: Callable[[str], object] = lambda text: None,
    ) -> None:  # fmt: skip
        super().__init__(context)
        self.heading, self.told, self.value, self.keys, self.check = title, told, value, keys, check
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        yield Input(self.value, id="value", compact=True)

    def title_text(self) -> str:
        return self.heading

    def keys_text(self) -> str:
        return f"{self.keys} · esc cancel"

    def rows(self, width: int) -> list[Line]:
        p = self.context.palette
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
