"""Numbers for narrow places. A missing one is an em dash; NaN and infinity say so."""

from __future__ import annotations

import math

MISSING = "—"


def number(value: object, digits: int = 3) -> str:
    """A few significant digits: 0.0042, 3.1e−5, 1.03, 214, 21k. Words and switches pass through."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        out = f"{mantissa.removesuffix('.0')}e{int(power)}"
    elif size >= 10_000:
        out = f"{value / 1000:.0f}k"
    elif size >= 100 or ((isinstance(value, int) or value == int(value)) and size >= 10):
        out = f"{value:.0f}"
    elif isinstance(value, int):
        out = str(value)
    elif size >= 1:
        out = f"{value:.{max(0, digits - 1)}f}"
    else:
        places = digits if size >= 0.1 or size == 0 else 3 if size >= 0.01 else 4
        out = f"{value:.{places}f}"
    return out.replace("-", "−")


def fixed(value: float | None, digits: int = 2) -> str:
    """With always as many decimals, for columns."""
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 2) -> str:
    """With its sign always shown."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return number(value)
    return f"{value:+.{digits}f}".replace("-", "−")


def directed(value: float | None, digits: int = 3) -> str:
    """A few significant digits, with the sign always shown: +0.412, −3.1e−5, 0."""
    if value is None or not value or not math.isfinite(value):
        return "0" if value == 0 else number(value)
    told = number(value, digits)
    return told if value < 0 else f"+{told}"


def percent(share: float | None) -> str:
    if share is None or math.isnan(share):
        return MISSING
    return f"{100 * share:.0f}%" if math.isfinite(share) else number(share)


def count(value: float | None) -> str:
    """How many, in at most five cells: 812, 2.1k, 98k, 3.4M."""
    if value is None or not math.isfinite(value):
        return number(value)
    for unit in ("", "k", "M", "G"):
        if abs(value) < 999.5 or unit == "G":
            return f"{value:.0f}{unit}" if not unit or abs(value) >= 9.95 else f"{value:.1f}{unit}"
        value /= 1000
    return str(value)


def size(value: float | None) -> str:
    """Bytes: 13.0 MB."""
    if value is None or not math.isfinite(value):
        return number(value)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(value) < 1023.5:
            return (
                f"{value:.0f} {unit}"
                if unit == "B" or abs(value) >= 99.95
                else f"{value:.1f} {unit}"
            )
        value /= 1024
    return f"{value:.1f} TB"


def clock(seconds: float) -> str:
    """0:42, 12:05, 1:02:03."""
    whole = max(0, int(seconds)) if math.isfinite(seconds) else 0
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
