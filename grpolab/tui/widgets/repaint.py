"""Write what changed in a canvas straight to the terminal, and limit how often the screen repaints.

Textual's own way from a changed row to the terminal takes several messages, a timer, and every row
of every widget beside it. For one changed number that is most of the cost, and the answer to a key
waits for it. Where a canvas is wholly visible, the changed cells of its rows are written at once;
anywhere else `Widget.refresh` is called as usual.

This needs private parts of Textual, tried with 8.2: `CompositorUpdate`, `App._display` and
`_batch_count`, `Screen._layout_required`, `Screen._compositor` and its `visible_widgets`. If one of
them is missing or raises, every repaint from then on is an ordinary `refresh`: slower, but the same
cells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip

try:
    from textual._compositor import CompositorUpdate  # pyright: ignore[reportAssignmentType]
except ImportError:
    supported = False

    class CompositorUpdate:
        """In the place of Textual's, so that `Cells` can be defined; never shown."""
else:
    supported = True
    """Whether this Textual has the private parts; set to False by the first that fails."""

strict = False
"""Whether what fails is raised, too: set by tests, so that an error of ours is seen."""

if TYPE_CHECKING:
    from textual.screen import Screen

    from grpolab.tui.widgets.canvas import Canvas


class Changed(NamedTuple):
    """A row of a canvas, as it was and as it is."""

    y: int
    before: Strip
    after: Strip


class Cells(CompositorUpdate):
    """Runs of cells as the terminal gets them. Made beforehand: an error in `render_segments` would
    end the app, and not reach `show`."""

    def __init__(self, written: str) -> None:
        self.written = written

    def render_segments(self, console: Console) -> str:
        return self.written

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self.written, None, [])


def show(screen: Screen[Any], painted: Iterable[tuple[Canvas, Sequence[Changed]]]) -> None:
    """Bring these rows of canvases of a screen to the terminal."""
    global supported
    rest = list(painted)
    if supported:
        try:
            rest = _write(screen, rest)
        except Exception as error:  # a private part is missing, or is not what it was
            supported = False
            screen.log.warning(f"partial repaints are off: {error!r}")
            if strict:
                raise
    for canvas, rows in rest:
        canvas.refresh(*(Region(0, row.y, canvas.size.width, 1) for row in rows))


def _write(
    screen: Screen[Any], painted: Sequence[tuple[Canvas, Sequence[Changed]]]
) -> list[tuple[Canvas, Sequence[Changed]]]:
    """Write the changed cells of every canvas that is wholly visible; gives the others."""
    clear = _clear(screen)
    runs: list[str] = []
    rest: list[tuple[Canvas, Sequence[Changed]]] = []
    for canvas, rows in painted:
        place = _place(screen, canvas) if clear else None
        if place is None:
            rest.append((canvas, rows))
        else:
            for row in rows:
                x, segments = differing(row.before, row.after)
                runs.append(Control.move_to(place.x + x, place.y + row.y).segment.text)
                runs.append(Strip(segments).render(screen.app.console))
    if runs:
        screen.app._display(screen, Cells("".join(runs)))
    return rest


def differing(before: Strip, after: Strip) -> tuple[int, list[Segment]]:
    """What must be written to turn one row into another of the same width: the first cell that
    changes, and the segments from there on."""
    old, new = list(before), list(after)
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    x = sum(segment.cell_length for segment in new[:start])
    return x, new[start : len(new) - end]


def _clear(screen: Screen[Any]) -> bool:
    """Whether the terminal shows what Textual last laid out, with no other screen over this one."""
    app = screen.app
    return not (screen is not app.screen or app.is_inline or app._batch_count
                or screen._layout_required)  # fmt: skip


def _place(screen: Screen[Any], canvas: Canvas) -> Region | None:
    """The canvas's region of the screen, if all of it is visible and nothing is in front of it."""
    visible = screen._compositor.visible_widgets  # the foremost first
    region, clip = visible.get(canvas, (None, None))
    if region is None or clip is None or clip.intersection(region) != region:
        return None
    if region.size != canvas.size:
        return None
    for other, (their, _) in visible.items():
        if other is canvas:
            return region
        if region.overlaps(their):
            return None
    return None


SHARE = 0.02
"""The share of one core that the screen's thread may use by itself beside a training run, painting
and the rest: the two often share a core."""

SAVED = 0.03
"""Seconds of computing that may be saved up while little happens."""

OWED = 0.05
"""Seconds by which the budget may be overdrawn; a large repaint beyond that is forgotten."""


class RepaintBudget:
    """Seconds of computing that the screen may use by itself, which grow by SHARE of the time that
    passes. `now` and `spent` give the wall clock and the thread's CPU time in seconds."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._now, self._spent = now, spent
        self._then, self._before = now(), spent()
        self._left = SAVED

    def left(self) -> bool:
        """Whether something of the budget is left."""
        now, spent = self._now(), self._spent()
        self._left += SHARE * (now - self._then) - (spent - self._before)
        self._left = min(SAVED, max(-OWED, self._left))
        self._then, self._before = now, spent
        return self._left > 0

    def reset(self) -> None:
        """Count nothing of what was computed since the last call: the user asked for it."""
        self._then, self._before = self._now(), self._spent()
        self._left = max(0.0, self._left)
