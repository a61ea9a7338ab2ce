"""The guided tour: a card beside the pane that it explains, over the running lab, whose keys work
as usual."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from grpolab.tui.context import AppContext
from grpolab.tui.glossary.words import WORDS
from grpolab.tui.keymap import BY_NAME
from grpolab.tui.keys import ACTIONS, Action
from grpolab.tui.tour.model import Stop, stops
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.dialog import Dialog
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.text import Line, clip, wrap

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp
    from grpolab.tui.lab.screen import LabScreen

WIDEST = 66
OWN = ("escape", "enter", "backspace", "ctrl+c", "ctrl+q", "q")


class Tour(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "leave", show=False, priority=True),
        Binding("enter", "on", "on", show=False, priority=True),
        Binding("backspace", "back", "back", show=False, priority=True),
        Binding("ctrl+c", "leave", "leave", show=False, priority=True),
    ]

    def __init__(self, context: AppContext) -> None:
        super().__init__()
        self.context = context
        self.stops = stops(context.mode)
        self.at = 0
        self.tried = self.began = False
        self.before = (context.current, context.zoom)

    @property
    def stop(self) -> Stop:
        return self.stops[self.at]

    @property
    def lab(self) -> LabScreen:
        return cast("LabApp", self.app).lab

    def compose(self) -> ComposeResult:
        yield TourCard(self)

    def on_mount(self) -> None:
        self.go(0)
        self.set_interval(0.5, self._look)

    def _look(self) -> None:
        """Move the card once the panes are visible."""
        if self.lab.begun and not self.began:
            self.go(self.at)

    def on_resize(self) -> None:
        self.go(self.at)

    def on_unmount(self) -> None:
        self.context.lit = ""
        self.context.current, self.context.zoom = self.before
        lab = next((s for s in self.app.screen_stack if s.id == "lab"), None)
        if lab is not None and lab.is_running:  # it is not when the app quits
            self._give_back()
            self.lab.moved()

    def _give_back(self) -> None:
        """Give the panes back the rows that the card occupied."""
        self.lab.reserved = 0
        self.lab.relayout()

    def go(self, at: int) -> None:
        """To a stop: show and highlight its pane, with the card where it does not cover it."""
        if at != self.at:
            self.tried, self.context.zoom = False, False
        self.at = at
        lab, pane = self.lab, self.stop.pane
        self.began = lab.begun
        self.context.lit = pane
        if pane:
            self.context.current = pane
        card = self.query_one(TourCard)
        width, height = self.app.size.width, self.app.size.height
        lab.reserved = 0
        lab.relayout()
        box = lab.boxes().get(pane)
        place = beside(box, width, height - 3, card.tall) if box is not None else None
        if place is None:  # below the panes, which make room
            tall = card.tall(min(WIDEST + 14, width))
            lab.reserved = max(0, min(tall, height - 10))
            lab.relayout()
            place = Rect(0, height - 1 - lab.reserved, width, lab.reserved)
            if not lab.begun:
                place = Rect(max(0, (width - WIDEST) // 2), max(0, height - 1 - tall),
                            min(WIDEST, width), tall)  # fmt: skip
        card.styles.width, card.styles.height = place.width, place.height
        card.styles.offset = (place.x, place.y)
        lab.moved()
        card.paint()

    def action_on(self) -> None:
        if self.at + 1 < len(self.stops):
            self.go(self.at + 1)
        else:
            self.action_leave()

    def action_back(self) -> None:
        self.go(max(0, self.at - 1))

    def action_leave(self) -> None:
        key = self.context.keymap.shown("tour")
        self.context.say(
            f"{key} starts the tour again, {self.context.keymap.shown('explain')} is help"
        )
        self._give_back()  # before the card is gone: no frame shows a gap
        self.dismiss(None)

    def on_key(self, event: events.Key) -> None:
        """The lab's keys work as usual, except for those that leave it."""
        found = next(
            (a for a in ACTIONS if event.key in self.context.keymap.of(a).split(",")), None
        )
        if event.key in OWN or found is None or found.name in ("quit", "tour"):
            return
        event.stop()
        event.prevent_default()
        self.run_lab(found)

    def run_lab(self, action: Action) -> None:
        if self.context.mode not in action.modes:
            self.context.say("not available in this kind of run", "warn")
        else:
            self.call_later(self._run, action)
        if action.name == self.stop.tries:
            self.tried = True
        self.query_one(TourCard).paint()

    async def _run(self, action: Action) -> None:
        await self.app.run_action(action.call, self.lab)
        if self.app.screen is self:  # it may have moved or zoomed panes
            self.query_one(TourCard).paint()

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        what, value = message.hit
        if what == "tour":
            self.call_later(self.run_action, str(value))
        elif what == "try":
            self.run_lab(BY_NAME[self.stop.tries])


class TourCard(Canvas):
    """What the tour says at one stop."""

    watches = frozenset({"select"})

    def __init__(self, tour: Tour) -> None:
        super().__init__(tour.context, id="tour")
        self.tour = tour

    @property
    def ground(self) -> str:
        return "raised"

    def tall(self, width: int) -> int:
        """Its height in rows at a width."""
        return len(self.rows(max(1, width - 4))) + 2

    def rows(self, width: int) -> list[Line]:
        p, stop = self.context.palette, self.tour.stop
        out = [Line(row, p.style("text")) for row in wrap(stop.text, width)]
        for word in stop.words:
            told = f"{word}: {WORDS[word]}"
            for i, row in enumerate(wrap(told, width)):
                line = Line()
                if i == 0:
                    line.add(word, p.style("text", bold=True)).add(row[len(word) :], p.style("dim"))
                else:
                    line.add(row, p.style("dim"))
                out.append(line)
        if stop.tries:
            key = self.context.keymap.shown(stop.tries)
            line = Line("✓ " if self.tour.tried else "▸ ", p.style("good"))
            line.add("tried: " if self.tour.tried else "try ", p.style("text"))
            line.add(f" {key} ", p.style("ground", "accent", bold=True), hit=("try", key))
            out.append(line.add(f" {clip(stop.trying, width - line.width - 1)}", p.style("text")))
        return out

    def lines(self, width: int, height: int) -> list[Line]:
        p, tour = self.context.palette, self.tour
        edge = p.style("warn", bold=True)
        title = f" {tour.stop.title} "
        head = Line("┏━", edge).add(clip(title, width - 12), p.style("text", bold=True))
        count = f" {tour.at + 1}/{len(tour.stops)} "
        head.add("━" * max(0, width - head.width - len(count) - 2), edge)
        out = [head.add(count, p.style("dim")).add("━┓", edge)]
        rows = self.rows(max(1, width - 4))
        room = max(0, height - 2)
        if len(rows) > room:  # keep the row with what to try
            rows = [*rows[: room - 1], rows[-1]]
        for row in [*rows, *(Line() for _ in range(room - len(rows)))]:
            out.append(Line("┃ ", edge).join(row).to(width - 1).add("┃", edge))
        foot = Line("┗━", edge)
        last = tour.at + 1 == len(tour.stops)
        for keys, word, call in (("↵", "done" if last else "next", "on"), ("⌫", "back", "back"),
                                 ("esc", "leave", "leave")):  # fmt: skip
            hit = ("tour", call)
            foot.add(f" {keys}", p.style("accent", bold=True), hit=hit)
            foot.add(f" {word} ", p.style("dim"), hit=hit)
        return [*out, foot.add("━" * max(0, width - foot.width - 1), edge).add("┛", edge)]


def beside(box: Rect, width: int, height: int, tall: Callable[[int], int]) -> Rect | None:
    """Where a card covers nothing of `box`, a rectangle in a body of this size below two rows; None
    where there is too little room. `tall` gives the card's height at a width."""
    rooms = ((0, box.x), (box.x + box.width, width))
    for left, right in sorted(rooms, key=lambda room: room[0] - room[1]):
        wide = min(WIDEST, right - left - 2)
        if wide >= 40 and (rows := tall(wide)) <= height:
            x = right - wide - 1 if left == 0 else left + 1
            y = 2 + min(max(0, box.y + (box.height - rows) // 2), height - rows)
            return Rect(x, y, wide, rows)
    return None


class TourOffer(Dialog[bool]):
    """Offers the tour on the first run, below what the lab shows meanwhile. Nobody asked for it: a
    key of the lab works as if it were not there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,N", "take", "take it", show=False),
        Binding("escape", "close", "not now", show=False),
    ]

    @property
    def lab(self) -> LabScreen:
        return cast("LabApp", self.app).lab

    def on_mount(self) -> None:
        self.call_after_refresh(self._make_room)

    def on_resize(self) -> None:
        self.call_after_refresh(self._make_room)

    def _make_room(self) -> None:
        """The lab is shown above the card."""
        self.lab.reserved = min(self.card.size.height, max(0, self.app.size.height - 14))
        self.lab.relayout()
        self.lab.moved()

    def on_unmount(self) -> None:
        lab = next((s for s in self.app.screen_stack if s.id == "lab"), None)
        if isinstance(self.app.screen, Tour) or lab is None or not lab.is_running:
            return
        self.lab.reserved = 0
        self.lab.relayout()
        self.lab.moved()

    def on_key(self, event: events.Key) -> None:
        """The lab's keys do what they do, and the offer is gone."""
        found = next(
            (a for a in ACTIONS if event.key in self.context.keymap.of(a).split(",")), None
        )
        if found is None or event.key in ("enter", "escape") or found.name == "tour":
            return
        event.stop()
        event.prevent_default()
        app, lab = self.app, self.lab
        self.dismiss(False)
        lab.call_next(app.run_action, found.call, lab)

    def title_text(self) -> str:
        return "Your first time here?"

    def keys_text(self) -> str:
        return "↵ take the tour · esc not now"

    def rows(self, width: int) -> list[Line]:
        p, keymap = self.context.palette, self.context.keymap
        text = "A tour of two minutes shows what each part of the screen is for, while training "
        text += f"continues. {keymap.shown('tour')} starts it at any time; this is asked only once."
        out = [Line(row, p.style("text")) for row in wrap(text, width)]
        line = Line().add(" ↵ take the tour ", p.style("ground", "accent", bold=True), ("take", 0))
        line.add("  ").add(" esc not now ", p.style("text", "raised"), ("close", 0))
        return [*out, Line(), line]

    def action_take(self) -> None:
        self.dismiss(True)

    def action_close(self) -> None:
        self.dismiss(False)

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        self.dismiss(message.hit[0] == "take")
