"""Curves in braille. The only importer of plotext, and only when the first curve is drawn.

plotext draws the canvas alone, exactly as many cells as asked for; axes, ticks and markers are set
around it here, so that columns are known and a switch's label stands over its line. Each series is
cut to two points a column before it is drawn: plotext's cost is by points. Of a long one only the
blocks in which it was summed up are looked at.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.tui.extremes import extremes

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
    """The canvas column in which plotext puts this x."""
    low, high = limits
    return (
        0 if high <= low else min(width - 1, max(0, round((x - low) / (high - low) * (width - 1))))
    )


_RUN = re.compile(r"\x1b\[([0-9;]*)m|([^\x1b]+)")


def canvas(
    series: Sequence[Series],
    width: int,
    height: int,
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    rules: Sequence[float] = (),
) -> list[Cells]:
    """The curves on width × height cells; vertical `rules` at some x carry the number
    `len(series)`.
    """
    if width < 2 or height < 1:
        return [[(" " * max(0, width), -1)] for _ in range(max(0, height))]
    import plotext as plt

    plt.clear_figure()
    plt.plot_size(width, height)
    plt.frame(False)
    plt.xticks([])
    plt.yticks([])
    plt.xlim(*xlim)
    plt.ylim(*ylim)
    plt.canvas_color("default")
    for at in rules:
        plt.plot([at, at], list(ylim), marker="┊", color=len(series) + 1)
    drawn = False
    for i, s in enumerate(series):
        x, y = decimate(s.x, s.y, width)
        if not x:
            continue
        drawn = True
        if s.marker == "braille" and len(x) > 1:
            plt.plot(x, y, marker="braille", color=i + 1)
        else:
            plt.scatter(x, y, marker="•" if s.marker == "braille" else s.marker, color=i + 1)
    if not drawn and not rules:
        return [[(" " * width, -1)] for _ in range(height)]
    rows = [_row(text, width) for text in plt.build().split("\n")[:height]]
    return rows + [[(" " * width, -1)]] * (height - len(rows))


def _row(text: str, width: int) -> Cells:
    """plotext's colour codes as series numbers."""
    out: Cells = []
    at, used = -1, 0
    for codes, run in _RUN.findall(text):
        if run:
            run = run[: width - used]
            out.append((run, at))
            used += len(run)
        else:
            at = int(codes.rpartition(";")[2]) - 1 if codes.startswith("38;5;") else -1
    return [*out, (" " * (width - used), -1)] if used < width else out


def nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.9999), 10 * power)
