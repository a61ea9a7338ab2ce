"""Line charts as self-contained SVG: no script, no font, no file beside it. Drawn for a white page
and for paper: curves differ by color and by dashes."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from grpolab.charts.model import (
    Axes,
    Chart,
    Series,
    axes,
    in_sight,
    put_labels,
    thinned,
    x_ticks,
    y_ticks,
)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#A8507F", "#8a6d00", "#3d93cf", "#4a525c", "#b84f00")
"""Of curves without a color of their own; dark enough for white."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 4")
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
TEXT, DIM, RULE = "#22272e", "#5d6672", "#d5d8dd"
QUIET = f'fill="{DIM}"'

LETTER = 7.2
"""Pixels of an average character at the size of the labels, by which places are kept free."""


def line_chart(chart: Chart, width: int = 640, height: int = 320) -> str:
    """The chart as an `<svg>` element of width × height pixels; it scales with the page."""
    first = sorted(range(len(chart.series)), key=lambda i: chart.series[i].look != "bold")
    looks = [
        (
            s.colour or COLOURS[i % len(COLOURS)],
            "" if s.scale else DASHES[first.index(i) % len(DASHES)],
        )
        for i, s in enumerate(chart.series)
    ]
    title_y = 18 if chart.title else 0
    keys, legend_y = _legend(chart.series, looks, width, title_y)
    bottom, right = height - 34, width - 14
    rows = max(2, (bottom - legend_y - 8) // 16)
    a = axes(chart)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{FONT}" font-size="12" '
        f'fill="{TEXT}"><title>{_text(chart.title or _names(chart))}</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    if chart.title:
        out.append(_label(12, 16, chart.title, 'font-weight="600"'))
    out += keys
    if a is None:
        out.append(_label(12, (legend_y + bottom) // 2, chart.empty, QUIET))
        return "\n".join([*out, "</svg>"]) + "\n"
    ticks = y_ticks(a, rows, chart.percent)
    left = 16 + round(LETTER * max((len(t) for _, t in ticks), default=2))
    labels = _labels(chart, a, right - left)
    box = (left, legend_y + 8 + 14 * len(labels), right, bottom)
    for value, text in ticks:
        y = _y(a.up(value), box)
        out.append(f'<path d="M{left} {y}H{right}" stroke="{RULE}"/>')
        out.append(_label(left - 6, y + 4, text, f'{QUIET} text-anchor="end"'))
    out.append(f'<path d="M{left} {bottom}H{right}" stroke="{DIM}"/>')
    for value, text in x_ticks(a.x, right - left, 70, whole=chart.unit != "seconds"):
        x = _x(a.right(value), box)
        out.append(_label(x, bottom + 15, text, f'{QUIET} text-anchor="middle"'))
    out.append(_label(right, height - 5, chart.unit, f'{QUIET} text-anchor="end"'))
    out += _marks(chart, a, box, labels)
    for s, (colour, dash) in zip(chart.series, looks, strict=True):
        out += _curve(s, a, box, colour, dash)
    return "\n".join([*out, "</svg>"]) + "\n"


def column(charts: Sequence[Chart], width: int = 640, height: int = 320) -> str:
    """Several charts below each other, each of width × height pixels."""
    if len(charts) == 1:
        return line_chart(charts[0], width, height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height * len(charts)}" '
        f'width="{width}" height="{height * len(charts)}">'
    ]
    for i, one in enumerate(charts):
        out.append(f'<svg y="{i * height}" {line_chart(one, width, height).removeprefix("<svg ")}')
    return "\n".join([*out, "</svg>"]) + "\n"


Box = tuple[int, int, int, int]
"""Left, top, right and bottom of the canvas."""


def _x(share: float, box: Box) -> float:
    return round(box[0] + share * (box[2] - box[0]), 2)


def _y(share: float, box: Box) -> float:
    return round(box[3] - share * (box[3] - box[1]), 2)


def _label(x: float, y: float, text: str, look: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{look and " " + look}>{_text(text)}</text>'


def _text(text: str) -> str:
    """Text for XML: escaped, and without the characters that XML 1.0 has no place for."""
    kept = "".join(c if c >= " " or c in "\t\n" else chr(0x2400 + ord(c)) for c in text)
    kept = "".join(
        "\ufffd" if "\ud800" <= c <= "\udfff" or c in "\ufffe\uffff" else c for c in kept
    )
    return escape(kept, {'"': "&quot;"})


def _names(chart: Chart) -> str:
    return ", ".join(s.name for s in chart.series if s.name)


def _legend(
    series: Sequence[Series], looks: Sequence[tuple[str, str]], width: int, top: int
) -> tuple[list[str], int]:
    """The curves' names with a piece of each, in as many rows as they need, and where these end."""
    out: list[str] = []
    x, y = 12.0, top + 16
    for s, (colour, dash) in zip(series, looks, strict=True):
        if not s.name:
            continue
        wide = 32 + LETTER * len(s.name)
        if x > 12 and x + wide > width - 12:
            x, y = 12.0, y + 17
        out.append(f'<path d="M{x:.1f} {y - 4}h18" {_stroke(s, colour, dash)}/>')
        out.append(_label(x + 24, y, s.name))
        x += wide + 10
    return out, (y + 4 if out else top + 4)


def _stroke(s: Series, colour: str, dash: str) -> str:
    wide = 2.4 if s.look == "bold" else 1.4
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    look = f'stroke="{_text(colour)}" stroke-width="{wide}"{dashes}'
    return f'fill="none" stroke-linejoin="round" {look}'


def _curve(s: Series, a: Axes, box: Box, colour: str, dash: str) -> list[str]:
    """A curve, with its band behind it and its name for a pointer that rests on it."""
    out = [f"<g><title>{_text(s.name)}</title>"]
    if s.band is not None:
        x, low, high = s.band
        sides = []
        for values in (low, high):
            known = [(p, max(v, a.y[0]) if a.log else v) for p, v in zip(x, values, strict=True)]
            sides.append([(_x(a.right(p), box), _y(a.up(v, s.scale), box))
                          for p, v in in_sight(known, a.x)])  # fmt: skip
        ring = [*sides[0], *reversed(sides[1])]
        if ring:
            points = " ".join(f"{x},{y}" for x, y in ring)
            out.append(f'<polygon points="{points}" fill="{_text(colour)}" fill-opacity="0.15"/>')
    points = [
        (_x(x, box), _y(y, box)) for x, y in zip(*thinned(s, a, box[2] - box[0]), strict=True)
    ]
    if len(points) > 1 and s.look != "points":
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        out.append(f'<path d="{path}" {_stroke(s, colour, dash)}/>')
    if points and (s.look == "points" or (len(points) <= 60 and s.glyph)):
        out += [f'<circle cx="{x}" cy="{y}" r="2.4" fill="{_text(colour)}"/>' for x, y in points]
    elif len(points) == 1:
        out.append(
            f'<circle cx="{points[0][0]}" cy="{points[0][1]}" r="3" fill="{_text(colour)}"/>'
        )
    return [*out, "</g>"]


def _labels(chart: Chart, a: Axes, wide: int) -> list[list[tuple[int, str, str]]]:
    """The rows of labels over a canvas `wide` pixels wide; places are counted in characters."""
    columns = int(wide / LETTER)
    marks = [(int(a.right(m.x) * (columns - 1)), m) for m in chart.marks if a.x[0] <= m.x <= a.x[1]]
    return [row for row in put_labels(marks, columns, rows=2) if row]


def _marks(chart: Chart, a: Axes, box: Box, labels: list[list[tuple[int, str, str]]]) -> list[str]:
    """Dashed lines, and their labels above them."""
    out: list[str] = []
    for m in chart.marks:
        if m.line and a.x[0] <= m.x <= a.x[1]:
            x = _x(a.right(m.x), box)
            out.append(f'<path d="M{x} {box[1]}V{box[3]}" stroke="{DIM}" stroke-dasharray="2 3"/>')
    for i, row in enumerate(labels):
        for column, text, _ in row:
            out.append(_label(box[0] + column * LETTER, box[1] - 5 - 14 * i, text, QUIET))
    return out
