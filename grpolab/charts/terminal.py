"""Line charts in terminal cells. The only module that imports plotext, and only once a chart is
drawn: nothing on the way to the screen's first frame pays for it.

plotext draws the curves and the y axis. The x axis (one row, where plotext takes two), the dotted
lines of marks, bands and the curves' glyphs are set around and over its cells. Points are thinned
first, to the lowest and the highest of each column: one for each of its two columns of dots.

Two screens draw their charts themselves, by `python -m tests.benchmarks.charts` on a
shared AMD EPYC (milliseconds of one redraw):
- The curves screen (`tui/widgets/plot.py`): three lanes, as measured and smoothed, take plotext 60
  in 120×20 cells and 170 in 190×50, the canvas 7 and 16. A key that moves its cursor redraws there,
  up to six charts at a time. Nor has plotext dashes, by which lanes differ without color.
- The memory stack (`tui/memory/model.py`): 60 columns of eight owners take plotext's `stacked_bar`
  71, the letters 1.2 (timed by hand, not by that command); and a stack needs a letter on its
  owner's color in each cell, where plotext gives a bar one sign and one color on the canvas's.
Learning (three curves) takes 5 in 48×10 cells and 8 in 60×16, each of KL's two 3 and 4: at most
once or twice a second, and only where a number, the size or the theme changed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.cells import cell_len, set_cell_size

from grpolab.charts.model import (
    Axes,
    Chart,
    Mark,
    Series,
    axes,
    in_sight,
    put_labels,
    thinned,
    x_ticks,
    y_ticks,
)

Run = tuple[str, str]
"""Text and its color, #rrggbb; empty: the terminal's own."""
Row = tuple[Run, ...]

MARKERS = {"bold": "hd", "line": "braille"}
"""How plotext draws a curve: quarters of a cell, solid; or eight dots a cell, fine."""

SMALLEST = (6, 2)
"""Columns and rows of the smallest canvas with axes."""

MOST_KEPT = 48
"""Pictures that are remembered."""


@dataclass(frozen=True)
class Ink:
    """The colors of what is not a curve."""

    name: str  # of the theme
    line: str = ""  # axes
    tick: str = ""  # numbers at the axes, and the lines of marks
    text: str = ""


PLAIN = Ink("plain")


@dataclass(frozen=True)
class Picture:
    """A drawn chart."""

    rows: tuple[Row, ...]  # each exactly as wide as asked for
    left: int = 0  # cells left of the canvas
    top: int = 0  # rows above it
    columns: int = 0
    lines: int = 0
    x: tuple[float, float] = (0.0, 1.0)  # at the canvas's edges

    def value(self, column: int) -> float:
        """The x of a canvas column."""
        return self.x[0] + (self.x[1] - self.x[0]) * column / max(1, self.columns - 1)


_pictures: OrderedDict[Hashable, Picture] = OrderedDict()


def line_chart(
    chart: Chart | Callable[[], Chart],
    width: int,
    height: int,
    ink: Ink = PLAIN,
    *,
    colour: bool = True,
    version: Hashable = None,
    label_rows: int = 1,
    left: int = 0,
    bare: bool = False,
) -> Picture:
    """A chart in exactly width × height cells: labels of marks, the canvas with the y axis on its
    left, the x axis; `bare`: the canvas alone.

    `version` names the chart and its data. Where it is given, a picture of the same version, size
    and theme is not drawn again, and a callable chart is not made again. `colour=False` (NO_COLOR):
    no colors; curves differ by their glyphs. `left`: least number of cells left of the canvas, so
    that charts below each other line up.
    """
    key = (version, width, height, ink.name, colour, label_rows, left, bare)
    if version is not None and key in _pictures:
        _pictures.move_to_end(key)
        return _pictures[key]
    made = chart() if callable(chart) else chart
    if bare:
        drawn = _bare(made, width, height, ink)
    else:
        drawn = _draw(made, width, height, ink, label_rows, left)
    if not colour:
        rows = tuple(_joined([(text, "") for text, _ in row]) for row in drawn.rows)
        drawn = Picture(rows, drawn.left, drawn.top, drawn.columns, drawn.lines, drawn.x)
    if version is not None:
        _pictures[key] = drawn
        if len(_pictures) > MOST_KEPT:
            _pictures.popitem(last=False)
    return drawn


_asked = False  # whether `load_ahead` was called


def load_ahead() -> None:
    """Import plotext in a thread, ahead of the first chart: it takes some 80 ms. Only the first
    call does; where the import fails, the first chart raises its error."""
    global _asked
    if not _asked:
        _asked = True
        threading.Thread(target=_load).start()


def _load() -> None:
    with suppress(Exception):
        _figure()


def _figure() -> Any:
    """A new figure of plotext's: what is set in one is not seen in another"""
    from plotext._figure import _figure_class

    return _figure_class()


def _draw(c: Chart, width: int, height: int, ink: Ink, label_rows: int, left: int) -> Picture:
    top = label_rows if any(m.label or m.short for m in c.marks) else 0
    lines = height - top - 1
    a = axes(c)
    if a is None:
        return _said(c.empty, width, height, ink)
    rows_of = {_cell(a.up(v), lines, 4): text for v, text in y_ticks(a, lines, c.percent)}
    left = max([left, 2, *(cell_len(t) + 2 for t in rows_of.values())])
    columns = width - left
    if columns < SMALLEST[0] or lines < SMALLEST[1]:
        return _said("too small for a curve", width, height, ink)
    cells = _canvas(c, a, columns, lines, left, rows_of, ink)
    _over(c, a, cells, columns, lines, left, ink)
    marks = [(_cell(a.right(m.x), columns, 2), m) for m in c.marks if a.x[0] <= m.x <= a.x[1]]
    rows = [_labels(row, width, left) for row in put_labels(marks, columns, top)] if top else []
    rows = [*rows[::-1], *(_joined(row) for row in cells), _x_axis(a, c, columns, left, ink)]
    return Picture(tuple(rows), left, top, columns, lines, a.x)


def _bare(c: Chart, width: int, height: int, ink: Ink) -> Picture:
    """The canvas without axes, for a few rows."""
    a = axes(c)
    if a is None or width < 2 or height < 1:
        return _said(c.empty, width, height, ink)
    cells = _canvas(c, a, width, height, 0, {}, ink)
    _over(c, a, cells, width, height, 0, ink)
    return Picture(tuple(_joined(row) for row in cells), 0, 0, width, height, a.x)


def _said(text: str, width: int, height: int, ink: Ink) -> Picture:
    """Words in the middle of an empty chart."""
    rows: list[Row] = [((" " * width, ""),) if width > 0 else ()] * max(0, height)
    if rows and width > 0:
        rows[len(rows) // 2] = ((set_cell_size(f"  {text}", width), ink.tick),)
    return Picture(tuple(rows))


def _cell(share: float, cells: int, dots: int) -> int:
    """In which of `cells`, counted from 0, plotext draws what lies at a share of the way."""
    return int(0.5 + (cells * dots - 1) * share) // dots


def _canvas(
    c: Chart, a: Axes, columns: int, lines: int, left: int, ticks: dict[int, str], ink: Ink
) -> list[list[Run]]:
    """The canvas and the y axis as plotext draws them, cell by cell, from top to bottom.

    plotext gets places from 0 to 1 instead of values: its own scaling overflows where limits are as
    far apart as floats go, and it draws every dot of a line that leaves the canvas. Its ticks are
    given so that each stands in the row where a curve of that value is drawn.
    """
    figure = _figure()
    figure._limit_size(False, False)  # not cut to the terminal's size
    figure.plot_size(left + columns, lines)
    figure.xaxes(False, False)
    figure.yaxes(left > 0, False)
    figure.xlim(0, 1)
    figure.ylim(0, 1)
    figure.xticks([], [])
    named = {row: f"{text:>{left - 2}} " for row, text in ticks.items()} if left else {}
    if left and not named:
        named = {0: " " * (left - 1)}
    figure.yticks([row / (lines - 1) for row in named], list(named.values()))
    figure.ticks_color(_rgb(ink.tick))
    for s in sorted(c.series, key=lambda s: s.look == "bold"):  # the thick ones over the thin
        x, y = thinned(s, a, columns) if s.look != "area" else ([], [])
        if len(x) > 1 and s.look in MARKERS:
            figure.plot(x, y, marker=MARKERS[s.look], color=_rgb(s.colour))
        elif x:  # one sign a cell, in the cell where a line would pass
            x = [_cell(v, columns, 2) / max(1, columns - 1) for v in x]
            y = [_cell(v, lines, 4) / max(1, lines - 1) for v in y]
            figure.scatter(x, y, marker=s.glyph or "•", color=_rgb(s.colour))
    figure.monitor.build_plot()  # `build` would also join the cells to a string of escapes
    matrix = figure.monitor.matrix
    out: list[list[Run]] = []
    for row in range(lines - 1, -1, -1):
        inks = [_hex(seen) for seen in matrix.fullground[row]]
        cells = list(zip(matrix.marker[row], inks, strict=True))
        if left:
            cells[: left - 1] = [(t, ink.tick if t.strip() else "") for t, _ in cells[: left - 1]]
            cells[left - 1] = ("┤" if row in ticks else "│", ink.line)
        out.append(cells)
    return out


def _rgb(colour: str) -> tuple[int, int, int] | str:
    """A color as plotext wants it."""
    if not colour:
        return "default"
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _hex(colour: object) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour) if isinstance(colour, tuple) else ""


def _over(
    c: Chart, a: Axes, cells: list[list[Run]], columns: int, lines: int, left: int, ink: Ink
) -> None:
    """Set bands and the lines of marks behind the curves, glyphs over them."""
    for s in c.series:
        if s.band is not None:
            for column, row in _band(s, a, columns, lines):
                if cells[row][left + column][0] == " ":
                    cells[row][left + column] = "░", s.colour
    for m in c.marks:
        if m.line and a.x[0] <= m.x <= a.x[1]:
            column = left + _cell(a.right(m.x), columns, 2)
            for row in cells:
                if row[column][0] in " ░":
                    row[column] = "┊", ink.tick
    for i, s in enumerate(c.series):
        if s.glyph:
            for column, row in _glyphs(s, a, columns, lines, i, len(c.series)):
                cells[row][left + column] = s.glyph, s.colour


def _glyphs(
    s: Series, a: Axes, columns: int, lines: int, index: int, count: int
) -> list[tuple[int, int]]:
    """Cells of a curve's glyph: at its points where these are few, else now and then, each curve at
    other places; always at its end."""
    places = list(zip(*thinned(s, a, columns), strict=True))
    found = [(_cell(x, columns, 2), lines - 1 - _cell(y, lines, 4)) for x, y in places]
    if not found or s.look == "points":
        return found
    every = 4 if 4 * len(found) <= columns else max(16, columns // 5)
    due = -1 if every == 4 else every * (index + 1) // (count + 1)
    kept = []
    for column, row in found[:-1]:
        if column >= due:
            kept.append((column, row))
            due = column + every
    while kept and kept[-1][0] > found[-1][0] - 2:
        kept.pop()
    return [*kept, found[-1]]


def _band(s: Series, a: Axes, columns: int, lines: int) -> list[tuple[int, int]]:
    """The cells between a band's lowest and highest values."""
    assert s.band is not None
    x, lows, highs = s.band
    sides = []
    for values in (lows, highs):
        # on a log axis, what cannot be shown lies at the lower edge
        known = [(p, max(v, a.y[0]) if a.log else v) for p, v in zip(x, values, strict=True)]
        sides.append([(a.right(p), a.up(v, s.scale)) for p, v in in_sight(known, a.x)])
    out: list[tuple[int, int]] = []
    for column in range(columns):
        at = column / max(1, columns - 1)
        low, high = (_height(side, at) for side in sides)
        if low is not None and high is not None:
            bottom, top = _cell(low, lines, 4), _cell(high, lines, 4)
            out += [(column, lines - 1 - row) for row in range(bottom, top + 1)]
    return out


def _height(side: Sequence[tuple[float, float]], at: float) -> float | None:
    """How high a broken line is at some place; None where it is not."""
    if not side or at < side[0][0] - 1e-9 or at > side[-1][0] + 1e-9:
        return None
    for (x0, y0), (x1, y1) in pairwise(side):
        if at <= x1:
            return y0 + (y1 - y0) * min(1.0, max(0.0, (at - x0) / (x1 - x0 or 1.0)))
    return side[-1][1]


def _labels(placed: Sequence[tuple[int, str, str]], width: int, left: int) -> Row:
    row: list[Run] = []
    at = 0
    for column, text, colour in placed:
        row += [(" " * (left + column - at), ""), (text, colour)]
        at = left + column + cell_len(text)
    return _joined([*row, (" " * (width - at), "")])


def _x_axis(a: Axes, c: Chart, columns: int, left: int, ink: Ink) -> Row:
    """Round numbers on the axis's own row, under their columns; the unit at its end."""
    unit = f" {c.unit}" if cell_len(c.unit) + 9 <= columns else ""
    room = columns - cell_len(unit) - len(unit[:1])  # a piece of the line before the unit
    row: list[Run] = [(" " * (left - 1), ""), ("└", ink.line)]
    at = 0
    for value, text in x_ticks(a.x, room, 9, whole=c.unit != "seconds"):
        column = _cell(a.right(value), columns, 2)
        if column + len(text) > room and at <= room - len(text) and column <= room:
            column = room - len(text)  # the last one ends before the unit
        if (column > at or not at) and column + len(text) <= room:
            row += [("─" * (column - at), ink.line), (text, ink.tick)]
            at = column + len(text)
    return _joined([*row, ("─" * (columns - cell_len(unit) - at), ink.line), (unit, ink.tick)])


def _joined(row: Sequence[Run]) -> Row:
    """Neighbors of one color as one run."""
    out: list[tuple[list[str], str]] = []
    for text, colour in row:
        if out and (out[-1][1] == colour):
            out[-1][0].append(text)
        elif text:
            out.append(([text], colour))
    return tuple(("".join(texts), colour) for texts, colour in out)


def legend(
    chart: Chart, width: int, values: Callable[[Series], str] | None = None, quiet: str = ""
) -> list[Row]:
    """The curves' glyphs and names, these in a `quiet` color, and what `values` says of each, as
    many in a row as fit."""
    rows: list[list[Run]] = []
    used = 0
    for s in chart.series:
        if not s.name:
            continue
        glyph = s.glyph or ("▞▀" if s.look == "bold" else "⠤⠒")
        told = values(s) if values is not None else ""
        name = f"{s.name} " if told else s.name
        wide = cell_len(f"{glyph} {name}{told}")
        if rows and used + 3 + wide <= width:
            rows[-1].append(("   ", ""))
            used += 3 + wide
        else:
            rows.append([])
            used = wide
        rows[-1] += [(f"{glyph} ", s.colour), (name, quiet), (told, "")]
    return [_joined(row) for row in rows]


__all__ = ["PLAIN", "Ink", "Mark", "Picture", "Row", "Run", "legend", "line_chart", "load_ahead"]
