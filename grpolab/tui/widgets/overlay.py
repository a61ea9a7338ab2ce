"""A whole screen over the lab: the lab's header, boxes, and its own keys. Esc leads back."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.keys import SCREENS, Action
from grpolab.tui.lab.header import Header
from grpolab.tui.widgets.canvas import Body, Canvas, Pane
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.text import Line

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp
    from grpolab.tui.lab.screen import LabScreen


def bindings(screen: str) -> list[BindingType]:
    """The keys of one of `keys.SCREENS`."""
    return [Binding(a.keys, a.call, a.help, id=a.name, show=False) for a in SCREENS[screen]]


Of = TypeVar("Of", bound="Overlay")


class Box(Pane, Generic[Of]):
    """One box of an overlay."""

    watches = frozenset({"select"})

    def __init__(self, overlay: Of, *, id: str) -> None:
        super().__init__(overlay.context, id=id)
        self.overlay = overlay

    @property
    def here(self) -> bool:
        return self.overlay.part == self.id


class Overlay(Screen[None]):
    """Base of the screens over the lab. A subclass gives its parts, where they stand, and what its
    keys do."""

    key: ClassVar[str] = ""
    """In `keys.SCREENS`."""
    heading: ClassVar[str] = ""
    explains: ClassVar[str] = ""
    mouse: ClassVar[str] = "click a row, a token, a key below"

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.part = ""  # the box that keys speak to
        self.parts: tuple[Box[Any], ...] = ()
        self.canvases: list[Canvas] = []

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        """The parts in sight and where they stand."""
        raise NotImplementedError

    def news(self, events: list[ev.Event]) -> None:
        """What has just happened; called a few times a second also where nothing has."""

    @cached_property
    def lab(self) -> LabScreen:
        return cast("LabApp", self.app).lab

    @property
    def actions(self) -> tuple[Action, ...]:
        """What its keys do, in this mode."""
        return tuple(a for a in SCREENS[self.key] if self.context.mode in a.modes)

    def compose(self) -> ComposeResult:
        body = Body(*self.parts)
        self.place(body, self.app.size.width, self.app.size.height)
        yield from (Header(self.context), body, Keys(self))

    def on_mount(self) -> None:
        self.canvases = list(self.query(Canvas))
        self.lab.listeners.append(self)
        self.relayout()
        self.opened()

    def opened(self) -> None:
        """It stands on the screen."""

    async def on_unmount(self) -> None:
        self.lab.listeners = [g for g in self.lab.listeners if g is not self]
        await self.left()

    async def left(self) -> None:
        """It is gone from the screen: end what it has started."""

    def on_resize(self) -> None:
        self.relayout()

    def relayout(self) -> None:
        """Decide anew which parts are in sight and where."""
        if self.is_mounted:
            self.again()

    def place(self, body: Body, width: int, height: int) -> bool:
        """Give the parts their boxes; True where something moved."""
        boxes = self.boxes(width, max(0, height - 3))
        if boxes == body.boxes:
            return False
        for part in self.parts:
            part.display = part.id in boxes
        body.put(boxes)
        return True

    def touch(self, part: Box[Any]) -> None:
        """Something small in one part changed."""
        part.stale = True
        self.lab.repaint()

    def again(self) -> None:
        """Something on it changed: show it now."""
        for body in self.query(Body) if self.is_mounted else ():  # none, once it is taken down
            self.place(body, self.size.width, self.size.height)
        for canvas in self.canvases:
            canvas.stale = True
        self.lab.repaint(at_once=True)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        what, value = message.hit
        if what != "run":
            self.clicked(what, value)
        elif hasattr(self, "action_" + str(value).partition("(")[0]):
            self.call_later(self.run_action, str(value))

    def clicked(self, what: str, value: object) -> None:
        """A click on something that means more than a key."""

    def scrolled(self) -> Box[Any] | None:
        """The part that page keys scroll."""
        shown = [p for p in self.parts if p.display]
        return next((p for p in shown if p.id == self.part), shown[0] if shown else None)

    def action_page_down(self) -> None:
        if part := self.scrolled():
            part.scroll(max(1, part.size.height - 4))

    def action_page_up(self) -> None:
        if part := self.scrolled():
            part.scroll(-max(1, part.size.height - 4))

    def action_theme(self) -> None:
        self.lab.action_theme()

    def action_picture(self) -> None:
        self.lab.action_picture()
        self.again()

    def action_glossary(self) -> None:
        self.lab.action_glossary()

    def action_explain(self) -> None:
        from grpolab.tui.lab.dialogs.help import Help

        self.app.push_screen(
            Help(self.context, self.heading, self.explains, self.actions, self.mouse)
        )

    def action_commands(self) -> None:
        self.app.action_command_palette()

    def action_close(self) -> None:
        self.dismiss(None)

    async def action_quit(self) -> None:
        self.lab.action_quit()


class Keys(Canvas):
    """One row of the overlay's keys; each can be clicked."""

    watches = frozenset({"select"})

    def __init__(self, overlay: Overlay) -> None:
        super().__init__(overlay.context, id="keys")
        self.overlay = overlay

    @property
    def ground(self) -> str:
        return "bar"

    def lines(self, width: int, height: int) -> list[Line]:
        actions = self.overlay.actions
        last = Line()
        for action in actions:
            if action.name in ("explain", "close"):
                last.join(self._key(action, None))
        line = Line(" ")
        for action, following in zip(actions, (*actions[1:], None), strict=False):
            if not action.label or action.name in ("explain", "close"):
                continue
            other = following and following.name.endswith(("_previous", "_back"))
            part = self._key(action, following if other else None)
            if line.width + part.width + last.width <= width:
                line.join(part)
        return [line.to(width - last.width).join(last)]

    def _key(self, action: Action, back: Action | None) -> Line:
        p, keymap = self.context.palette, self.context.keymap
        style = p.style("accent", bold=True)
        line = Line()
        if back is not None:
            line.add(keymap.shown(back), style, hit=("run", back.call)).add("/", p.style("dim"))
        line.add(keymap.shown(action), style, hit=("run", action.call))
        return line.add(f" {action.label}  ", p.style("dim"), hit=("run", action.call))
