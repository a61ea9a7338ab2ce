"""The sign of a number as a glyph and a color. Rounding error has no sign.

A number below 1e-6 of the scale it is measured on is what float arithmetic leaves of equal numbers:
it is shown as 0 and points nowhere.
"""

from __future__ import annotations

import math

from grpolab.tui.widgets.token_rows import ROUNDING


def settled(value: float, scale: float = 1.0) -> float:
    """`value`, or 0 where it is below 1e-6 of `scale`. NaN and infinity stay."""
    return 0.0 if abs(value) < ROUNDING * scale else value


def sign(value: float | None, scale: float = 1.0) -> tuple[str, str]:
    """Glyph and hue: ▲ above 0, ▼ below 0, · for 0 or a missing number, ? for NaN."""
    if value is None:
        return "·", "dim"
    if math.isnan(value):
        return "?", "warn"
    value = settled(value, scale)
    return ("▲", "plus") if value > 0 else ("▼", "minus") if value < 0 else ("·", "dim")
