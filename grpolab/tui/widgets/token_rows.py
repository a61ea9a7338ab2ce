"""Tokens in rows, each colored by a number: wherever an answer is shown token by token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from grpolab.tui.widgets.palette import Palette, level_mark, sign_mark
from grpolab.tui.widgets.text import Line, clip, visible

SIGNED = {
    "advantage": 0.0, "ratio": 1.0, "value": 0.0, "return": 0.0, "push": 0.0, "clip": 0.0,
    "td": 0.0, "after": 0.0,
}  # fmt: skip
"""Quantities with two directions, and the value between them."""

ROUNDING = 1e-6
"""Below this share of its scale a value is float noise: 0, without a direction."""

Row = list[tuple[int, str]]
"""The tokens of one row, each with its cells."""


class Scale:
    """How a channel's values become a hue, a strength and a mark."""

    def __init__(self, name: str, values: Sequence[float]) -> None:
        self.name = name
        self.middle = SIGNED.get(name)
        finite = [v for v in values if math.isfinite(v)]
        if self.middle is not None:
            self.limit = max((abs(v - self.middle) for v in finite), default=0.0)
            if self.limit < ROUNDING:  # float noise only
                self.limit = 1.0
            self.low, self.high = self.middle - self.limit, self.middle + self.limit
        else:
            self.low, self.high = min(finite, default=0.0), max(finite, default=1.0)
            self.limit = self.high - self.low

    def look(self, value: float) -> tuple[str, float, str]:
        """A value's hue (a name in Palette), its strength from 0 to 1, and its mark."""
        if math.isnan(value):
            return "warn", 0.0, "?"
        if self.middle is not None:
            away = value - self.middle
            if abs(away) < ROUNDING * self.limit:
                away = 0.0
            share = abs(away) / self.limit if math.isfinite(away) else 1.0
            if self.name == "clip":
                hue = "plus" if away > 0 else "minus" if away < 0 else "faint"
                return hue, float(away != 0), "⊤" if away > 0 else "⊥" if away < 0 else "·"
            return ("plus" if away >= 0 else "minus"), share, sign_mark(away, self.limit)
        if math.isinf(value):
            return "warn", 1.0, "!"
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return "heat", share, level_mark(0.12 + 0.88 * share)


def shown(piece: str) -> str:
    """A token's text in cells: spaces at its ends and line breaks made visible."""
    text = visible(piece)
    if not text:
        return "∅"
    if text.isspace():
        return "␣" * len(text)
    return text


@lru_cache(maxsize=32)
def layout(pieces: tuple[str, ...], width: int) -> list[Row]:
    """Rows of (token index, its cells); a row ends at the width, and after a token with a line
    break."""
    rows: list[Row] = [[]]
    used = 0
    for i, piece in enumerate(pieces):
        text = clip(shown(piece), width)
        wide = Line(text).width
        if used + wide > width and rows[-1]:
            rows.append([])
            used = 0
        rows[-1].append((i, text))
        used += wide
        if "\n" in piece and i + 1 < len(pieces):
            rows.append([])
            used = 0
    return [row for row in rows if row] or [[]]


def around(rows: list[Row], at: int, most: int) -> list[Row]:
    """The `most` rows around the one that holds token `at`."""
    here = next((i for i, cells in enumerate(rows) if cells and cells[-1][0] >= at), 0)
    first = max(0, min(len(rows) - most, here - most // 2))
    return rows[first : first + most]


def painted(
    p: Palette,
    cells: Row,
    values: Sequence[float],
    scale: Scale,
    at: int,
    others: tuple[Sequence[float], Scale] | None = None,
) -> list[Line]:
    """A row of tokens on the color of their values; under it the same as marks, readable without
    color. `others`: a second quantity, as a further row of marks.
    """
    text, marks, more = Line(), Line(), Line()
    for i, shown in cells:
        known = i < len(values)
        hue, strength, mark = scale.look(values[i] if known else math.nan)
        style = p.tint(hue, strength) if known else p.style("text")
        before = text.width
        if i == at:
            style = p.style("ground", "text", bold=True)
        text.add(shown, style, hit=("token", i))
        wide = text.width - before
        marks.add(mark * wide if i == at else mark + " " * (wide - 1), p.style(hue, bold=i == at))
        if others is not None:
            theirs, measure = others
            hue, _, mark = measure.look(theirs[i] if i < len(theirs) else math.nan)
            again = mark * wide if i == at else mark + " " * (wide - 1)
            more.add(again, p.style(hue, bold=i == at))
    return [text, marks, more] if others is not None else [text, marks]
