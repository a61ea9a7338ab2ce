"""A pane: a box of lines, built from the app's context, repainted line by line where it changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.color import Color
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from grpolab.analysis.metric_help import METRICS
from grpolab.tui.context import AppContext
from grpolab.tui.widgets import repaint
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.text import Hit, Line, clip

_Look = tuple[int, Style, Sequence[LineFilter], Color | None]
"""On what a row's strip depends besides its segments: width, base style, filters, ground."""


def _strip(
    line: Line, width: int, base: Style, filters: Sequence[LineFilter], ground: Color | None
) -> Strip:
    """A line as the terminal gets it."""
    strip = Strip(
        [Segment(s.text, base + s.style if s.style else base) for s in line.segments], line.width
    ).adjust_cell_length(width, base)
    if ground is not None:
        for one in filters:
            strip = strip.apply_filter(one, ground)
    return strip


class Canvas(Widget):
    """A widget made of `Line`s. A subclass gives `lines`; `paint` redraws those that differ."""

    watches: ClassVar[frozenset[str]] = frozenset()
    """Which marks make it stale: kinds of events, `select` (the view moved), `clock` (a quarter
    second passed).
    """
    period: ClassVar[float] = 0.12
    """Least seconds between two repaints."""
    calm: ClassVar[float] = 0.45
    """The same beside a run that trains, while nobody presses a key: a little less than a multiple
    of the quarter second between two ticks, so that it is due at one of them."""
    slow: ClassVar[bool] = False
    """It takes long to paint: a key does not wait for it."""

    class Clicked(Message):
        """Cells that mean something were clicked."""

        def __init__(self, pane: Canvas, hit: Hit) -> None:
            super().__init__()
            self.pane = pane
            self.hit = hit

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.context = context
        self.stale = True
        self.painted = 0.0
        self.hint: str | None = None  # of the metric under the mouse
        self._shown: list[Line] = []
        self._strips: list[Strip] = []
        self._built: tuple[int, int] = (-1, -1)
        self._look: _Look | None = None

    def lines(self, width: int, height: int) -> list[Line]:
        """At most `height` lines of at most `width` cells."""
        raise NotImplementedError

    def due(self, now: float, calm: bool = False) -> bool:
        """Whether it is to be painted, though nobody asks for it."""
        rest = max(self.calm, self.period) if calm else self.period
        seen = self.stale and self.is_mounted and self.display
        return seen and now - self.painted >= rest * self.context.pace

    def paint(self) -> None:
        """Build the lines again, and show what changed."""
        if changed := self.rebuilt():
            repaint.show(self.screen, [(self, changed)])

    def rebuilt(self) -> list[repaint.Changed]:
        """Build the lines again: the rows that changed, for who shows them. Another size is
        another matter: then Textual is told."""
        before, size = self._strips, self._built
        self._build()
        if size != self._built:
            self.refresh()
            return []
        both = enumerate(zip(before, self._strips, strict=True))
        return [repaint.Changed(y, a, b) for y, (a, b) in both if a is not b]

    def _build(self) -> None:
        width, height = self.size
        self.stale, self.painted = False, time.monotonic()
        base = self.context.palette.style("text", self.ground)
        shown = self.lines(width, height)[:height] if width > 0 and height > 0 else []
        shown += [Line() for _ in range(height - len(shown))]
        # palettes have no terminal colors
        filters = [f for f in self.get_line_filters() if not isinstance(f, ANSIToTruecolor)]
        look = (width, base, filters, self.background_colors[1] if filters else None)
        known = zip(self._shown, self._strips, strict=True) if look == self._look else ()
        self._strips = [
            old[1]
            if old is not None and (old[0] is line or old[0].segments == line.segments)
            else _strip(line, *look)
            for line, old in zip_longest(shown, islice(known, len(shown)))
        ]
        self._shown, self._look, self._built = shown, look, (width, height)

    @property
    def ground(self) -> str:
        return "ground"

    def render_line(self, y: int) -> Strip:
        return self.render_lines(Region(0, y, self.size.width, 1))[0]

    def render_lines(self, crop: Region) -> list[Strip]:
        """What was built, as it is: Textual would look for borders and filter every row anew, also
        those of the panes beside one that changed."""
        width, height = self.size
        if self._built != (width, height):
            self._build()
        rows = self._strips[crop.y : crop.bottom]
        if crop.column_span != (0, width):
            rows = [row.crop(*crop.column_span) for row in rows]
        return rows + [Strip.blank(crop.width)] * (crop.height - len(rows))

    def on_click(self, event: events.Click) -> None:
        if event.y < len(self._shown):
            hit = self._shown[event.y].hit(event.x) or self.elsewhere()
            if hit is not None:
                self.post_message(self.Clicked(self, hit))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Over a metric, its meaning."""
        hit = self._shown[event.y].hit(event.x) if event.y < len(self._shown) else None
        hint = METRICS.get(str(hit[1])) if hit is not None and hit[0] == "metric" else None
        if hint != self.hint:
            self.hint = hint
            self.tooltip = None if hint is None else Text(hint)

    def elsewhere(self) -> Hit | None:
        """What a click on nothing in particular means."""
        return None

    @property
    def plain(self) -> str:
        """What stands there, as text."""
        if self._built != (self.size.width, self.size.height):
            self._build()
        return "\n".join(line.plain for line in self._shown)


class Pane(Canvas):
    """A canvas in a box with a numbered title. `content` may be longer than the box: it scrolls."""

    index: ClassVar[int] = 0
    title: ClassVar[str] = ""
    explains: ClassVar[str] = ""
    """What the pane shows, for `?`."""

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self.top = 0
        self._framed: list[tuple[Line, Line]] = []  # of what is in sight: without its box, and with
        self._look_of_frame: tuple[int, str, Style] | None = None

    def content(self, width: int, height: int) -> list[Line]:
        raise NotImplementedError

    @property
    def here(self) -> bool:
        """Whether keys speak to this pane."""
        return self.context.current == self.id

    def info(self) -> tuple[str, str]:
        """What stands in the box's upper edge: after the title, and on the right."""
        return "", ""

    def lines(self, width: int, height: int) -> list[Line]:
        if width < 6 or height < 3:
            return [Line(clip(self.title, width))]
        p = self.context.palette
        here = self.here
        lit = self.context.lit == self.id
        edge = p.style("warn" if lit else "accent" if here else "line", bold=lit)
        wall, corners = ("┃", "┗━┛") if lit else ("│", "╰─╯")
        inner = max(1, width - 4)
        body = self.content(inner, height - 2)
        self.top = max(0, min(self.top, len(body) - (height - 2)))
        below = len(body) - (height - 2) - self.top
        out = [self._edge(width, here)]
        look = (width, wall, edge)
        known = self._framed if self._look_of_frame == look else []
        shown = body[self.top : self.top + height - 2]
        shown += [Line()] * (height - 2 - len(shown))
        self._look_of_frame = look
        self._framed = [
            old if old is not None and old[0].like(line) else (line, _framed(line, *look))
            for line, old in zip_longest(shown, known[: len(shown)])
        ]
        out += [row for _, row in self._framed]
        more = f" ▾ {below} more · {self.context.keymap.shown('page_down')} " if below > 0 else ""
        if not more and self.top:
            more = f" ▴ {self.top} above · {self.context.keymap.shown('page_up')} "
        room = width - 3 - len(more)
        foot = Line(corners[0], edge).add(corners[1] * max(0, room), edge)
        out.append(
            foot.add(more if room >= 0 else "", p.style("dim")).to(width - 2).add(corners[1:], edge)
        )
        return out

    def _edge(self, width: int, here: bool) -> Line:
        p = self.context.palette
        lit = self.context.lit == self.id
        edge = p.style("warn" if lit else "accent" if here else "line", bold=lit)
        bar, corners = ("━", "┏━┓") if lit else ("─", "╭─╮")
        info, right = self.info()
        row = Line(corners[:2], edge).add(" ")
        row.add(f"{self.index} " if self.index else "", p.style("accent" if here else "faint"))
        row.add(f"{self.title} ", p.style("accent" if here else "text", bold=True))
        room = width - row.width - 3
        info = clip(info, room - 2)
        right = right if len(info) + len(right) + 5 <= room else ""  # whole, or not at all
        if info:
            row.add(bar + " ", edge).add(info + " ", p.style("dim"))
        gap = width - row.width - 2 - (len(right) + 2 if right else 0)
        row.add(bar * max(0, gap), edge)
        if right:
            row.add(f" {right} ", p.style("dim"))
        return row.add(corners[1:], edge)

    def scroll(self, by: int) -> None:
        self.top = max(0, self.top + by)
        self.paint()

    def elsewhere(self) -> Hit | None:
        return ("pane", self.id)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.scroll(2)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.scroll(-2)


def _framed(line: Line, width: int, wall: str, edge: Style) -> Line:
    """A row of the box."""
    row = Line(wall, edge)
    if line.segments or line.hits:
        row.add(" ").join(_cut(line, width - 4))
    return row.to(width - 1).add(wall, edge)


def _cut(line: Line, width: int) -> Line:
    """The line, its end cut off where it is too long: nothing may reach the box's edge."""
    if line.width <= width:
        return line
    cut = Line()
    for segment in line.segments:
        text = clip(segment.text, width - cut.width, "")
        cut.add(text, segment.style)
        if len(text) < len(segment.text):
            break
    cut.hits = line.hits
    return cut


class Boxes(Layout):
    """Puts each pane into the box that `arrange` gave it."""

    name = "boxes"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        boxes: dict[str, Rect] = getattr(parent, "boxes", {})
        placements = []
        for child in children:
            box = boxes.get(child.id or "", Rect(0, 0, size.width, size.height))
            placements.append(WidgetPlacement(Region(*box), NULL_OFFSET, NULL_SPACING, child))
        return placements


class Body(Widget):
    """Where the panes are."""

    BLANK = True

    def __init__(self, *children: Widget) -> None:
        super().__init__(*children, id="body")
        self.boxes: dict[str, Rect] = {}
        self._default_layout = Boxes()

    def put(self, boxes: dict[str, Rect]) -> None:
        """Panes into these boxes. Textual keeps an arrangement for each size of ours and would not
        ask again."""
        self.boxes = boxes
        self._clear_arrangement_cache()
        self.refresh(layout=True)
