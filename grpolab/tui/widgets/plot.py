"""A chart with axes: lines with glyphs, bands, labeled rules, a cursor. Pure: what it is given
becomes lines of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from grpolab.charts.model import nice
from grpolab.tui.widgets.palette import Palette, blend
from grpolab.tui.widgets.text import Line, clip, count, number

# --- lines of dots ---

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""A cell's bits by column, from top to bottom."""

DASHES = ((1, 0), (7, 3), (3, 2), (9, 2), (2, 3), (5, 4), (1, 1), (12, 4))
"""Dots on and off along a line, by lane: told apart without color."""


class Dots:
    """A canvas of width × height cells. Each cell remembers who drew on it last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.bits = [0] * (width * height)
        self.owner = [-1] * (width * height)

    def line(
        self, x: Sequence[float], y: Sequence[float], owner: int, dash: tuple[int, int] = (1, 0)
    ) -> None:
        """Connect points given in dots from the upper left corner; what lies outside is cut off."""
        if not x:
            return
        wide, tall, width = 2 * self.width, 4 * self.height, self.width
        bits, owners, (on, off) = self.bits, self.owner, dash
        period = on + off
        before_x, before_y = x[0], y[0]
        for at_x, at_y in zip(x, y, strict=True):
            left, right = int(before_x + 0.5), int(at_x + 0.5)
            slope = (at_y - before_y) / (right - left) if right > left else 0.0
            for column in range(max(left, 0), min(right, wide - 1) + 1):
                if off and column % period >= on:
                    continue
                if right > left:
                    a = before_y + slope * max(column - left - 0.5, 0.0)
                    b = before_y + slope * min(column - left + 0.5, right - left)
                else:
                    a, b = before_y, at_y
                if a > b:
                    a, b = b, a
                top, bottom = int(a + 0.5), int(b + 0.5)
                if bottom < 0 or top >= tall:
                    continue
                bit, cell = DOTS[column & 1], column >> 1
                for row in range(max(top, 0), min(bottom, tall - 1) + 1):
                    i = (row >> 2) * width + cell
                    bits[i] |= bit[row & 3]
                    owners[i] = owner
            before_x, before_y = at_x, at_y


def column(x: float, limits: tuple[float, float], width: int) -> int:
    """The canvas column in which this x stands."""
    low, high = limits
    return (
        0 if high <= low else min(width - 1, max(0, round((x - low) / (high - low) * (width - 1))))
    )


# --- the chart ---

MARGIN = 9
"""Cells left of the canvas, in every chart alike, so that charts below each other line up."""


Xy = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Stroke:
    """One line: what is smoothed, over what was measured. Thinned to what can be seen already."""

    line: Xy
    raw: Xy | None  # behind it, where it differs
    colour: str
    glyph: str
    index: int = 0  # of the lane: chooses the dashes
    band: tuple[Sequence[float], Sequence[float], Sequence[float]] | None = None  # x, low, high
    below: int = 0  # values ≤ 0 among what was thinned

    def values(self) -> list[Sequence[float]]:
        found = [self.line[1], *(self.raw or ())[1:], *(self.band or ())[1:]]
        return [v for v in found if v]


@dataclass(frozen=True)
class Rule:
    """Something that happened at some x."""

    x: float
    label: str
    colour: str = "text"


@dataclass(frozen=True)
class Chart:
    """What is to be drawn."""

    strokes: Sequence[Stroke]
    xlim: tuple[float, float]
    log: bool = False
    rules: Sequence[Rule] = ()
    empty: str = "not measured here"


@dataclass(frozen=True)
class Drawn:
    """A chart's canvas before the cursor: dots, and characters over and behind them by cell."""

    chart: Chart
    dots: Dots
    over: dict[tuple[int, int], tuple[str, int]]
    behind: dict[tuple[int, int], int]
    ylim: tuple[float, float] | None  # None: nothing can be drawn
    below: int  # values ≤ 0 that a log scale cannot show


def draw(c: Chart, width: int, height: int) -> Drawn:
    """The canvas for `width` cells, the y axis included, and `height` rows."""
    wide = max(1, width - MARGIN)
    ylim = _limits(c.strokes, c.log)
    below = sum(s.below for s in c.strokes) if c.log else 0
    out = Drawn(c, Dots(wide, max(1, height)), {}, {}, ylim, below)
    if ylim is None:
        return out
    to_x = _scale(c.xlim, 2 * wide - 1)
    to_y = _scale((ylim[1], ylim[0]), 4 * height - 1, c.log)
    for i, s in enumerate(c.strokes):  # bands and raw lines lie behind all others
        _band(s, out, to_x, to_y, i)
        if s.raw is not None:
            out.dots.line(*_dots(s.raw, to_x, to_y, c.log), 2 * i)
    for i, s in enumerate(c.strokes):
        x, y = _dots(s.line, to_x, to_y, c.log)
        out.dots.line(x, y, 2 * i + 1, DASHES[s.index % len(DASHES)])
        _glyphs(x, y, s, i, out)
    return out


def _limits(strokes: Sequence[Stroke], log: bool) -> tuple[float, float] | None:
    """From the lowest to the highest value in sight, with some room; None where there is none."""
    values = [v for s in strokes for v in s.values()]
    if log:
        above = [[y for y in v if y > 0] for v in values]
        above = [v for v in above if v]
        if not above:
            return None
        low, high = min(map(min, above)), max(map(max, above))
        return (low / 2, high * 2) if high <= low * 1.001 else (low / 1.15, high * 1.15)
    if not values:
        return None
    low, high = min(map(min, values)), max(map(max, values))
    if high - low <= 1e-12 * max(1.0, abs(high)):
        room = abs(high) * 0.1
        return (low - room, high + room) if room else (0.0, 1.0)
    room = 0.05 * (high - low)
    if 0 <= low < 0.35 * high:
        return 0.0, high + room
    if high <= 0 and high > 0.35 * low:
        return low - room, 0.0
    return low - room, high + room


def _scale(limits: tuple[float, float], dots: int, log: bool = False) -> Callable[[float], float]:
    """From a value (its logarithm) to a dot."""
    low, high = (math.log10(v) for v in limits) if log else limits
    by = dots / ((high - low) or 1.0)
    return lambda v: (v - low) * by


def _dots(
    xy: Xy, to_x: Callable[[float], float], to_y: Callable[[float], float], log: bool
) -> tuple[list[float], list[float]]:
    """A line's points as dots; what a log scale cannot show is left out."""
    if log:
        kept = [(to_x(a), to_y(math.log10(b))) for a, b in zip(*xy, strict=True) if b > 0]
        return [a for a, _ in kept], [b for _, b in kept]
    return [to_x(v) for v in xy[0]], [to_y(v) for v in xy[1]]


def _band(
    s: Stroke, out: Drawn, to_x: Callable[[float], float], to_y: Callable[[float], float],
    index: int,
) -> None:  # fmt: skip
    """The cells between lowest and highest, as far as each reaches within its column."""
    if s.band is None:
        return
    width, height, log = out.dots.width, out.dots.height, out.chart.log
    reach: dict[int, tuple[float, float]] = {}
    before: tuple[float, float, float] | None = None
    for x, low, high in zip(*s.band, strict=True):
        if log and high <= 0:
            continue
        top = to_y(math.log10(high) if log else high)
        bottom = to_y(math.log10(low) if log else low) if low > 0 or not log else 4.0 * height
        here = to_x(x) / 2, top, bottom
        left = before or here
        for cell in range(max(0, int(left[0])), min(width - 1, int(here[0])) + 1):
            share = (cell - left[0]) / (here[0] - left[0]) if here[0] > left[0] else 1.0
            share = min(max(share, 0.0), 1.0)
            up, down = (a + (b - a) * share for a, b in zip(left[1:], here[1:], strict=True))
            known = reach.get(cell, (up, down))
            reach[cell] = min(known[0], up), max(known[1], down)
        before = here
    for cell, (top, bottom) in reach.items():
        for row in range(max(0, int(top // 4)), min(height - 1, int(bottom // 4)) + 1):
            out.behind[cell, row] = index


def _glyphs(x: list[float], y: list[float], s: Stroke, i: int, out: Drawn) -> None:
    """The lane's glyph at the line's end, and now and then along it, each lane at its own place."""
    if not x:
        return
    width, height = out.dots.width, out.dots.height
    every = max(16, width // 5)
    due = every * (i + 1) / (len(out.chart.strokes) + 1)
    for k, (a, b) in enumerate(zip(x, y, strict=True)):
        last = k == len(x) - 1
        if a / 2 >= due or last:
            due = a / 2 + every
            cell = min(round(a) >> 1, width - 1) if a < 2 * width + 1 else width
            if 0 <= cell < width and 0 <= round(b) >> 2 < height:
                out.over[cell, round(b) >> 2] = (s.glyph, i)


def rows(
    p: Palette, d: Drawn, cursor: float | None = None, marked: float | None = None
) -> list[Line]:
    """The canvas as lines, with the y axis on its left, a cursor, and the range that it spans."""
    c, wide, height = d.chart, d.dots.width, d.dots.height
    if d.ylim is None:
        why = "no value above 0 here: a log scale cannot show it" if d.below else c.empty
        blank = Line(" " * MARGIN).add(clip(why, wide), p.style("faint"))
        return [blank if i == height // 2 else Line() for i in range(height)]
    ticks = y_ticks(d.ylim, height, c.log)
    ruled = {column(r.x, c.xlim, wide) for r in c.rules if c.xlim[0] <= r.x <= c.xlim[1]}
    here = -1 if cursor is None else column(cursor, c.xlim, wide)
    start = here if marked is None else column(marked, c.xlim, wide)
    chosen = range(min(here, start), max(here, start) + 1) if marked is not None else ()
    ink = [p.style(s.colour) for s in c.strokes]
    pale = [p.style(blend(p.ground, p._hex(s.colour), 0.5)) for s in c.strokes]
    shade = [p.style(blend(p.ground, p._hex(s.colour), 0.35)) for s in c.strokes]
    faint, accent, none = p.style("faint"), p.style("accent"), p.style("text")
    bits, owners = d.dots.bits, d.dots.owner
    out = []
    for row in range(height):
        line = Line().cell(ticks.get(row, ""), MARGIN - 2, faint, right=True)
        line.add(" ┤" if row in ticks else " │", p.style("line"))
        run, at = "", none
        for cell in range(wide):
            i = row * wide + cell
            if (cell, row) in d.over:
                text, which = d.over[cell, row]
                style = ink[which]
            elif bits[i]:
                text = chr(0x2800 + bits[i])
                style = (ink if owners[i] & 1 else pale)[owners[i] >> 1]
            elif cell == here:
                text, style = "│", accent
            elif (cell, row) in d.behind:
                text, style = "░", shade[d.behind[cell, row]]
            elif cell in ruled:
                text, style = "┊", faint
            elif cell in chosen:
                text, style = "·", faint
            else:
                text, style = " ", none
            if style is not at and run:
                line.add(run, at)
                run = ""
            run, at = run + text, style
        out.append(line.add(run, at))
    return out


def y_ticks(ylim: tuple[float, float], tall: int, log: bool) -> dict[int, str]:
    """Labels by canvas row: round values, each on the row nearest to it."""
    low, high = ylim
    if tall < 2 or high <= low:
        return {}
    if log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        every = max(1, (last - first + 1) // max(1, tall // 3))
        values = [10.0**k for k in range(first, last + 1, every)]
        told = {v: tick(v) for v in values}
        if len(told) < 2:
            told = {v: number(v, 2)[: MARGIN - 2] for v in (low, math.sqrt(low * high), high)}
        to_row = _scale((high, low), tall - 1, log=True)
        return {round(to_row(math.log10(v))): text for v, text in told.items()}
    step = nice((high - low) / max(2, min(5, tall // 3)))
    out: dict[int, str] = {}
    for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        row = round((high - k * step) / (high - low) * (tall - 1))
        out.setdefault(row, tick(k * step))
    return out


def tick(value: float) -> str:
    """A round value in at most seven cells."""
    if abs(value) >= 1e5:
        return count(value)
    text = f"{value:.4g}".replace("-", "−")
    return text if len(text) <= MARGIN - 2 else number(value, 2)


def x_axis(
    p: Palette, xlim: tuple[float, float], width: int, unit: str, whole: bool = True
) -> Line:
    """The axis below the canvas: round values under their columns (`whole`: only whole numbers),
    the unit at its end."""
    wide = width - MARGIN
    low, high = xlim
    line = Line(" " * (MARGIN - 1)).add("└", p.style("line"))
    if wide < 8 or high <= low:
        return line
    step = nice((high - low) / max(2, (wide - len(unit)) // 12))
    while whole and step != int(step):
        step = nice(step * 1.01)
    for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        label = tick(k * step)
        at = column(k * step, xlim, wide)
        if MARGIN + at >= line.width and at + len(label) <= wide - len(unit) - 1:
            line.add("─" * (MARGIN + at - line.width), p.style("line")).add(label, p.style("faint"))
    line.add("─" * max(0, width - len(unit) - 1 - line.width), p.style("line"))
    return line.add(f" {unit}", p.style("dim"))


def rule_labels(p: Palette, c: Chart, width: int) -> Line:
    """Over each rule, what happened; where labels would meet, the later one keeps its place."""
    wide = width - MARGIN
    there = [r for r in c.rules if c.xlim[0] <= r.x <= c.xlim[1]]
    marks = sorted(((column(r.x, c.xlim, wide), r) for r in there), key=lambda m: m[0])
    line = Line(" " * MARGIN)
    for i, (at, rule) in enumerate(marks):
        until = marks[i + 1][0] if i + 1 < len(marks) else wide
        label = clip(rule.label, max(0, until - at - 1))
        line.to(MARGIN + at).add(label, p.style(rule.colour))
    return line
