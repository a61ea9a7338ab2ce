"""What changed in a canvas, straight to the terminal.

Textual's way from a changed row to the terminal is through several messages, a timer, and every row
of every widget beside it. For one changed number that is most of the cost, and a key's answer waits
for it. Where a canvas stands whole and uncovered on the screen, what changed of its rows is written
at once, and only that; anywhere else Textual is told, as usual.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.segment import Segment
from textual._compositor import CompositorUpdate
from textual.geometry import Region
from textual.strip import Strip

if TYPE_CHECKING:
    from textual.screen import Screen

    from grpolab.tui.widgets.canvas import Canvas


class Changed(NamedTuple):
    """A row of a canvas, as it was and as it is."""

    y: int
    before: Strip
    after: Strip


class Cells(CompositorUpdate):
    """Runs of cells, each with the place on the screen where it begins."""

    def __init__(self, runs: Sequence[tuple[int, int, Sequence[Segment]]]) -> None:
        self.runs = runs

    def render_segments(self, console: Console) -> str:
        out: list[str] = []
        for x, y, segments in self.runs:
            out += (Control.move_to(x, y).segment.text, Strip(segments).render(console))
        return "".join(out)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for x, y, segments in self.runs:
            yield Control.move_to(x, y).segment
            yield from segments


def show(screen: Screen[Any], painted: Iterable[tuple[Canvas, Sequence[Changed]]]) -> None:
    """Bring these rows of canvases of a screen to the terminal."""
    runs: list[tuple[int, int, Sequence[Segment]]] = []
    clear = _clear(screen)
    for canvas, rows in painted:
        place = _place(screen, canvas) if clear else None
        if place is None:
            canvas.refresh(*(Region(0, row.y, canvas.size.width, 1) for row in rows))
        else:
            for row in rows:
                x, segments = differing(row.before, row.after)
                runs.append((place.x + x, place.y + row.y, segments))
    if runs:
        screen.app._display(screen, Cells(runs))


def differing(before: Strip, after: Strip) -> tuple[int, list[Segment]]:
    """What must be written to turn one row into the other, of the same width: from which cell on,
    and the segments."""
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
    """Whether what Textual knows about the screen is what stands there, and nothing is over it."""
    app = screen.app
    return not (screen is not app.screen or app.is_inline or app._batch_count
                or screen._layout_required)  # fmt: skip


def _place(screen: Screen[Any], canvas: Canvas) -> Region | None:
    """Where the canvas stands, if it is seen whole and nothing is in front of it."""
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


# --- thrift ---
# How much the screen does by itself beside a training run: no more than a share of one core,
# whatever the machine, the size of the screen, and the speed of the run. The two often share a
# core, and what the one takes the other lacks.

SHARE = 0.02
"""Of one core: all that the screen's thread computes, painting and the rest."""

SAVED = 0.03
"""Seconds of computing that may be saved up while little happens."""

OWED = 0.05
"""Seconds by which it may be overdrawn: what one large repaint took is not paid back for ever."""


class RepaintBudget:
    """An account of computing time: it fills up with the time that passes."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._now, self._spent = now, spent
        self._then, self._before = now(), spent()
        self._left = SAVED

    def left(self) -> bool:
        """Whether more may be computed now."""
        now, spent = self._now(), self._spent()
        self._left += SHARE * (now - self._then) - (spent - self._before)
        self._left = min(SAVED, max(-OWED, self._left))
        self._then, self._before = now, spent
        return self._left > 0

    def reset(self) -> None:
        """What was computed since the last time, somebody asked for."""
        self._then, self._before = self._now(), self._spent()
        self._left = max(0.0, self._left)
