"""What a chart shows, and the arithmetic that every way to draw it shares: scales, limits, ticks,
and the places of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from grpolab.charts.downsample import decimate, span

Limits = tuple[float, float]

GLYPHS = "●▲■◆▼★✚○"
"""Of curves, in their order: told apart without color."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve. Values that are not finite are left out, and so are those ≤ 0 on a log axis."""

    name: str
    x: Sequence[float]  # ascending
    y: Sequence[float]
    colour: str = ""  # #rrggbb; empty: the text's
    glyph: str = ""  # one cell, at the end and now and then along the curve
    look: str = "line"  # bold: thick; line: thin; points: the glyphs alone; area: the band alone
    band: tuple[Sequence[float], Sequence[float], Sequence[float]] | None = None  # x, low, high
    scale: Limits | None = None  # limits of its own; None: the chart's


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A vertical line at some x, with a label over it. Where the label has no room, `short` is
    tried; where neither has, the line stands alone. The higher `rank` is placed first, then the
    later x."""

    x: float
    label: str
    short: str = ""
    colour: str = ""
    rank: int = 0
    line: bool = True


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves on common axes."""

    series: Sequence[Series]
    xlim: Limits | None = None  # None: from the data
    ylim: Limits | None = None
    log: bool = False  # the y axis
    percent: bool = False  # y values are shares of one
    marks: Sequence[Mark] = ()
    unit: str = "steps"  # of x
    title: str = ""
    empty: str = "no values yet"


@dataclass(frozen=True)
class Axes:
    """The limits that a chart is drawn in."""

    x: Limits
    y: Limits
    log: bool
    step: float = 0.0  # of which both limits of y are multiples; 0: of none that is known

    def right(self, x: float) -> float:
        """A value's place from 0 at the left edge to 1 at the right."""
        return place(x, self.x)

    def up(self, y: float, own: Limits | None = None) -> float:
        """A value's place from 0 at the bottom to 1 at the top; positive values on a log axis."""
        if self.log and own is None:
            return place(math.log10(y), (math.log10(self.y[0]), math.log10(self.y[1])))
        return place(y, own or self.y)


def place(value: float, limits: Limits) -> float:
    """Where a value lies between two limits, 0 to 1; what lies outside is set on the nearer limit.
    Halved first: limits may be as far apart as floats go."""
    low, by = limits[0] / 2, limits[1] / 2 - limits[0] / 2
    return min(1.0, max(0.0, (value / 2 - low) / by)) if by > 0 else 0.5


def axes(chart: Chart) -> Axes | None:
    """The limits that a chart is drawn in; None where there is no value to draw."""
    xs = [found for s in chart.series if len(s.y) and (found := span(s.x))]
    if not xs:
        return None
    x = chart.xlim or (min(a for a, _ in xs), max(b for _, b in xs))
    if chart.ylim is not None:
        return Axes(x, chart.ylim, chart.log)
    ends = [found for s in chart.series if s.scale is None for v in _values(s)
            if (found := _span(v, chart.log))]  # fmt: skip
    if not ends:
        own = next((s.scale for s in chart.series if s.scale and span(s.y)), None)
        return None if own is None or chart.log else Axes(x, own, False)
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    if chart.log:
        return Axes(x, log_limits(low, high), True)
    low, high, step = _rounded(low, high)
    return Axes(x, (low, high), False, step)


def _values(s: Series) -> list[Sequence[float]]:
    return [s.y, *(s.band or ())[1:]]


def _span(values: Sequence[float], log: bool) -> Limits | None:
    return span([v for v in values if v > 0]) if log else span(values)


def limits(low: float, high: float) -> Limits:
    """Round limits around some values: 0 where it is near, else the next round values outwards."""
    return _rounded(low, high)[:2]


def _rounded(low: float, high: float) -> tuple[float, float, float]:
    """These, and the round step that both are multiples of; 0: of none."""
    room = high / 2 - low / 2
    if not math.isfinite(high - low):
        return low, high, 0.0
    if room <= 1e-12 * max(abs(low), abs(high), 1e-300):
        room = abs(high) / 10 or 1.0
        low, high = (0.0, high + room) if high >= 0 else (low - room, 0.0)
    if 0 <= low < 0.4 * high:
        low = 0.0
    elif high <= 0 and high > 0.4 * low:
        high = 0.0
    step = step_of(low, high)
    return step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), step


def log_limits(low: float, high: float) -> Limits:
    """Some room around positive values."""
    by = 2.0 if high <= low * 1.001 else 1.15
    return max(low / by, 1e-307), min(high * by, 1e307)


def step_of(low: float, high: float) -> float:
    """A round part of a range, of which it has three to five."""
    return nice((high / 2 - low / 2) / 5 * 2)


def y_ticks(a: Axes, rows: int, percent: bool = False) -> list[tuple[float, str]]:
    """Round values with short labels, the lowest first, evenly apart and at least two rows from
    each other; round limits are among them."""
    low, high = a.y
    if not high > low or not math.isfinite(high - low):
        return []
    if a.log:
        return _log_ticks(low, high, rows)
    step = a.step or step_of(low, high)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    parts = last - first
    most = max(1, (rows - 1) // 2)
    if abs(first * step - low) > 1e-6 * step or abs(last * step - high) > 1e-6 * step:
        every = max(1, -(-parts // most))
    else:
        every = next((m for m in range(1, parts) if parts % m == 0 and parts <= m * most), parts)
    found = [k * step for k in range(first, last + 1, every or 1)]
    if percent and step >= 0.01:
        return [(v, f"{100 * v:.0f}%") for v in found]
    return alike(found, step * every)


def _log_ticks(low: float, high: float, rows: int) -> list[tuple[float, str]]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    most = max(2, rows // 3)
    if last - first + 1 >= 2:
        every = max(1, -(-(last - first + 1) // most))
        return [(10.0**k, short(10.0**k)) for k in range(first, last + 1, every)]
    for digits in ((1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        values = [d * 10.0**k for k in range(first - 1, last + 1) for d in digits]
        kept = [v for v in values if low <= v <= high]
        if len(kept) >= 2:
            return [(v, short(v)) for v in kept[:: -(-len(kept) // most)]]
    return [(v, short(v)) for v in (low, high)]


def alike(values: Sequence[float], step: float) -> list[tuple[float, str]]:
    """Multiples of a step, all with the same number of decimals where that is short."""
    largest = max(map(abs, values), default=0.0)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if places <= 4 and round(step * 10**places, 6) != round(step * 10**places):  # 2.5
        places += 1
    if places > 4 or largest >= 1e4:
        return [(v, short(0.0 if abs(v) < step / 2 else v, largest)) for v in values]
    return [(v, f"{v + 0.0:.{places}f}".replace("-", "−")) for v in values]


def printable(text: str) -> str:
    """A name out of a run file, without what could steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in text)


def short(value: float, largest: float = 0.0) -> str:
    """A round value in at most seven cells: 0.05, 250, 20k, 1.5M, 2e−6. `largest`: of those beside
    it, which chooses the unit. Infinity and NaN are spelled out: inf, nan."""
    if not math.isfinite(value):
        return f"{value}".replace("-", "−")
    size = max(abs(value), largest)
    if value and size >= 1e4:
        for unit, by in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
            if size < 999.5 * by:
                return f"{value / by:.4g}{unit}".replace("-", "−")
    if 0 < abs(value) < 1e-3 or abs(value) >= 1e4:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def x_ticks(limits: Limits, columns: int, label: int, whole: bool) -> list[tuple[float, str]]:
    """Round values along x, about one in `label` columns; `whole`: only whole numbers."""
    low, high = limits
    if not high > low or not math.isfinite(high - low):
        return []
    step = nice((high - low) / max(2, columns // label))
    while whole and step != int(step):
        step = nice(step * 1.01)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return alike([k * step for k in range(first, last + 1)], step)


def thinned(s: Series, a: Axes, columns: int) -> tuple[list[float], list[float]]:
    """A curve's places, 0 to 1 in both directions, at most two in a column: where it is lowest and
    where it is highest, so that a spike of one step is seen. All are finite and in sight."""
    xs, ys = decimate(s.x, s.y, columns)
    shown = [
        (x, y)
        for x, y in zip(xs, ys, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not a.log or s.scale is not None)
    ]
    shown = in_sight(shown, a.x)
    return [a.right(x) for x, _ in shown], [a.up(y, s.scale) for _, y in shown]


def in_sight(points: Sequence[tuple[float, float]], x: Limits) -> list[tuple[float, float]]:
    """What lies between two x, cut off at the edges where the curve crosses them."""
    out: list[tuple[float, float]] = []
    for i, (at, y) in enumerate(points):
        if x[0] <= at <= x[1]:
            if i and points[i - 1][0] < x[0]:
                out.append(_between(points[i - 1], (at, y), x[0]))
            out.append((at, y))
        elif at > x[1] and i and points[i - 1][0] <= x[1]:
            for edge in x:
                if points[i - 1][0] < edge:
                    out.append(_between(points[i - 1], (at, y), edge))
            break
    return out


def _between(a: tuple[float, float], b: tuple[float, float], x: float) -> tuple[float, float]:
    share = (x / 2 - a[0] / 2) / (b[0] / 2 - a[0] / 2)
    return x, a[1] * (1 - share) + b[1] * share


def put_labels(
    marks: Iterable[tuple[int, Mark]], columns: int, rows: int = 1
) -> list[list[tuple[int, str, str]]]:
    """Labels over their columns: by row, column, text and color, from left to right. No two touch,
    none is cut: what has no room in any row gives way to its short form, or to nothing."""
    placed: list[list[tuple[int, str, str]]] = [[] for _ in range(rows)]
    order = sorted(marks, key=lambda m: (m[1].rank, m[1].x), reverse=True)
    for column, mark in order:
        for text in filter(None, (mark.label, mark.short)):
            wide = cell_len(text)
            at = min(column, columns - wide)  # at the right edge, the label ends at its line
            row = next((r for r in placed if at >= 0 and _free(r, at, wide)), None)
            if row is not None:
                row.append((at, text, mark.colour))
                break
    return [sorted(row) for row in placed]


def _free(row: Sequence[tuple[int, str, str]], at: int, wide: int) -> bool:
    return all(at + wide < a or a + cell_len(text) < at for a, text, _ in row)


def nice(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.9999), 10 * power)
