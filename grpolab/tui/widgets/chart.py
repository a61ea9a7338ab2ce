"""Curves in braille, the canvas alone: axes, ticks and labels are set around it where it is shown,
so that columns are known and a switch's label stands over its line.

Each series is cut to two points a column before it is drawn. Of a long one only the blocks in which
it was summed up are looked at.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.tui.widgets.downsample import extremes

# --- dots ---
# Lines drawn in braille, two by four dots a cell. Written for what is drawn again and again
# beside a training run: a noisy curve of 400 steps takes plotext 14 ms, this less than one.

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""A cell's bits by column, from top to bottom."""

DASHES = ((1, 0), (7, 3), (3, 2), (9, 2), (2, 3), (5, 4), (1, 1), (12, 4))
"""Dots on and off along a line, by lane: told apart without colour."""


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


Cells = list[tuple[str, int]]
"""A row of the canvas: runs of text with the number of the series they belong to, −1 for none."""


@dataclass(frozen=True)
class Series:
    """One curve. `marker`: "braille" for a line, any other character for points."""

    x: Sequence[float]
    y: Sequence[float]
    marker: str = "braille"


def decimate(
    x: Sequence[float], y: Sequence[float], columns: int
) -> tuple[list[float], list[float]]:
    """At most two points a column, each column's lowest and highest; what is not finite is left
    out.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} x, {len(y)} y")
    if isinstance(y, array) and len(y) > 8 * columns > 0:  # its blocks know
        ends = [*extremes(y).blocks(y, columns)]
        kept: list[int] = []
        for c in range(columns):
            part = ends[len(ends) * c // columns : len(ends) * (c + 1) // columns]
            if part:
                low = min((a for a, _ in part), key=y.__getitem__)
                high = max((b for _, b in part), key=y.__getitem__)
                kept += sorted({low, high})
        return [x[i] for i in kept], [y[i] for i in kept]
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if len(points) <= 2 * columns or columns < 1:
        return [a for a, _ in points], [b for _, b in points]
    few: list[tuple[float, float]] = []
    for c in range(columns):
        part = points[len(points) * c // columns : len(points) * (c + 1) // columns]
        if part:
            few += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [a for a, _ in few], [b for _, b in few]


def column(x: float, limits: tuple[float, float], width: int) -> int:
    """The canvas column in which this x stands."""
    low, high = limits
    return (
        0 if high <= low else min(width - 1, max(0, round((x - low) / (high - low) * (width - 1))))
    )


def canvas(
    series: Sequence[Series],
    width: int,
    height: int,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    rules: Sequence[float] = (),
) -> list[Cells]:
    """The curves on width × height cells, points over lines, later ones over earlier ones; vertical
    `rules` at some x stand behind them and carry the number `len(series)`.
    """
    if width < 2 or height < 1:
        return [[(" " * max(0, width), -1)] for _ in range(max(0, height))]
    dots, points = Dots(width, height), dict[int, tuple[str, int]]()
    for i, s in enumerate(series):
        x, y = decimate(s.x, s.y, width)
        right = _places(x, *xlim, 2 * width - 1)
        down = _places(y, ylim[1], ylim[0], 4 * height - 1)
        if s.marker == "braille" and len(x) > 1:
            dots.line(right, down, i)
            continue
        marker = "•" if s.marker == "braille" else s.marker
        for a, b in zip(right, down, strict=True):
            cell, row = round(a) >> 1, round(b) >> 2
            if 0 <= cell < width and 0 <= row < height:
                points[row * width + cell] = marker, i
    ruled = {column(at, xlim, width) for at in rules if xlim[0] <= at <= xlim[1]}
    return [_row(dots, points, ruled, row, len(series)) for row in range(height)]


def _places(values: Sequence[float], first: float, last: float, dots: int) -> list[float]:
    """Values as places on a scale of so many dots. Halved: the ends may be as far apart as numbers
    go."""
    low, by = first / 2, last / 2 - first / 2
    return [max(-1e6, min(1e6, (v / 2 - low) / by * dots)) for v in values] if by else []


def _row(
    dots: Dots, points: dict[int, tuple[str, int]], ruled: set[int], row: int, rule: int
) -> Cells:
    """One row's runs of cells that belong to the same series."""
    runs: list[tuple[list[str], int]] = []
    start = row * dots.width
    for cell in range(dots.width):
        at = start + cell
        if at in points:
            char, owner = points[at]
        elif dots.bits[at]:
            char, owner = chr(0x2800 + dots.bits[at]), dots.owner[at]
        else:
            char, owner = ("┊", rule) if cell in ruled else (" ", -1)
        if runs and runs[-1][1] == owner:
            runs[-1][0].append(char)
        else:
            runs.append(([char], owner))
    return [("".join(chars), owner) for chars, owner in runs]


def nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.9999), 10 * power)
