"""Lines of cells. Model text passes through `visible`: whatever could steer a terminal is shown
instead of sent.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, get_character_cell_size, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Hit = tuple[str, object]
"""What a click on some cells means: an action's name and its argument."""

MOST_SHOWN = 200_000
"""Characters of one answer that are ever laid out."""

_CONTROLS = {code: 0x2400 + code for code in range(32) if code != 10} | {127: "␡"}


def visible(text: str, newline: str = "⏎") -> str:
    """`text` with every character that is not plainly printable written out.

    Control characters become their pictures (␛), format characters, bidirectional controls and
    stray marks their code points (⟨202E⟩); newlines become `newline`. One combining mark after a
    letter stays, more would pile up over neighboring lines.
    """
    if text.isascii():
        if text.isprintable():
            return text
        return text.translate(_CONTROLS).replace("\n", newline)
    out: list[str] = []
    base = False  # the last character may carry a mark
    for char in unicodedata.normalize("NFC", text):
        code, kind = ord(char), unicodedata.category(char)
        if char == "\n":
            out.append(newline)
        elif code < 32:
            out.append(chr(0x2400 + code))
        elif code == 127:
            out.append("␡")
        elif (
            0xFE00 <= code <= 0xFE0F
        ):  # variation selectors only choose between pictures of one width
            continue
        elif kind in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
            out.append(f"⟨{code:X}⟩")
        elif kind in ("Mn", "Me"):
            out.append(char if base and kind == "Mn" else f"⟨{code:X}⟩")
        elif kind[0] != "M" and kind != "Zs" and cell_len(char) < 1:
            out.append(f"⟨{code:X}⟩")
        else:
            out.append(" " if kind == "Zs" else char)
        base = kind[0] == "L"
    return "".join(out)


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """At most `width` cells of printable text, its end marked where something is left out."""
    if width <= 0:
        return ""
    if len(text) <= width and cell_len(text) <= width:
        return text
    cut = text[: width + 1]
    while cut and cell_len(cut) > width - len(ellipsis):
        cut = cut[:-1]
    return cut + ellipsis


def tail(text: str, width: int) -> str:
    """The last `width` cells of printable text, its lost beginning marked."""
    if cell_len(text) <= width:
        return text
    cut = text[-width:]
    while cut and cell_len(cut) > width - 1:
        cut = cut[1:]
    return "…" + cut


def wrap(text: str, width: int) -> list[str]:
    """Printable text in lines of at most `width` cells, broken at spaces where there are some."""
    lines: list[str] = []
    for part in text[:MOST_SHOWN].split("\n"):
        while cell_len(part) > width > 0:
            cut = min(len(part), width)
            while cut > 1 and cell_len(part[:cut]) > width:
                cut -= 1
            space = part.rfind(" ", width // 2, cut)
            cut = space + 1 if space > 0 and cut < len(part) else cut
            lines.append(part[:cut])
            part = part[cut:]
        lines.append(part)
    return lines


class Line:
    """One row of cells, built from left to right, with places that can be clicked."""

    __slots__ = ("hits", "segments", "width")

    def __init__(self, text: str = "", style: Style | None = None) -> None:
        self.segments: list[Segment] = []
        self.hits: list[tuple[int, int, Hit]] = []
        self.width = 0
        if text:
            self.add(text, style)

    def add(self, text: str, style: Style | None = None, hit: Hit | None = None) -> Line:
        if text:
            if (
                not text.isprintable()
            ):  # the last guard: names, paths and messages come this way too
                text = visible(text)
            wide = len(text) if text.isascii() else cell_len(text)
            segments, before = self.segments, self.width
            self.width = before + wide
            if hit is not None:
                self.hits.append((before, self.width, hit))
            if segments and segments[-1][1] is style:  # styles are cached: runs join
                segments[-1] = Segment(segments[-1][0] + text, style)
            else:
                segments.append(Segment(text, style))
        return self

    def cell(self, text: str, width: int, style: Style | None = None, right: bool = False) -> Line:
        """Exactly `width` cells: cut, or filled with spaces on the other side."""
        if not (len(text) <= width and text.isascii()):
            text = clip(text, width)
            room = " " * (width - cell_len(text))
            return self.add(room + text if right else text + room, style)
        return self.add(text.rjust(width) if right else text.ljust(width), style)

    def to(self, column: int, style: Style | None = None) -> Line:
        """Spaces up to a column."""
        return self.add(" " * (column - self.width), style)

    def join(self, other: Line) -> Line:
        self.hits += [(a + self.width, b + self.width, hit) for a, b, hit in other.hits]
        self.segments += other.segments
        self.width += other.width
        return self

    def whole(self, hit: Hit, width: int) -> Line:
        """The whole row answers to a click, what it already holds first."""
        self.hits.append((0, width, hit))
        return self

    def on(self, ground: Style) -> Line:
        """The row on another ground; segments that have their own keep it."""
        self.segments = [
            Segment(s.text, ground + s.style if s.style else ground) for s in self.segments
        ]
        return self

    def strip(self, width: int, style: Style) -> Strip:
        """Exactly `width` cells."""
        made = Strip(self.segments, self.width)
        return made.adjust_cell_length(width, style)

    def like(self, other: Line) -> bool:
        """Whether it looks, and answers to clicks, as the other does."""
        return self.segments == other.segments and self.hits == other.hits

    def hit(self, x: int) -> Hit | None:
        return next((hit for a, b, hit in self.hits if a <= x < b), None)

    @property
    def plain(self) -> str:
        return "".join(s.text for s in self.segments)


def flow(
    parts: Iterable[Line], width: int, between: str = "   ", style: Style | None = None
) -> list[Line]:
    """Pieces set one after another, on a new row where the next does not fit."""
    rows: list[Line] = []
    for part in parts:
        if rows and rows[-1].width + len(between) + part.width <= width:
            rows[-1].add(between, style).join(part)
        else:
            rows.append(Line().join(part))
    return rows


def beside(left: Sequence[Line], right: Sequence[Line], column: int) -> list[Line]:
    """Two blocks next to each other, the right one from `column` on."""
    rows: list[Line] = []
    for i in range(max(len(left), len(right))):
        row = Line()
        if i < len(left):
            row.join(left[i])
        row.to(column)
        if i < len(right):
            row.join(right[i])
        rows.append(row)
    return rows


def fit(text: str, width: int) -> str:
    """Exactly `width` cells."""
    return set_cell_size(text, width)


# --- numbers in narrow columns: a missing one is an em dash, NaN and infinity are spelled out ---

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


# --- wrapping styled text, in time linear in its length: an answer may be 100 KB on one line ---

Run = tuple[str, Style]
"""Printable text, without line breaks but for `\\n`, and how it looks."""

_WORD = re.compile(r"\n|[^\S\n]+|</?\w{1,20}>|[^\s<]+|<")
"""Breaks, spaces, tags (a row may break before and after one), and the pieces of words."""


def wrapped(runs: Iterable[Run], width: int, indent: Line | None = None) -> list[Line]:
    """Rows of at most `width` cells (which is at least 2), broken at spaces where there are some;
    `indent` stands before every row but the first."""
    room = max(2, width)
    rows = [Line()]
    begin = 0  # where the row's own text begins
    for word, wide in _words(runs):
        if isinstance(word, str):
            begin = _next(rows, indent)
            continue
        if rows[-1].width + wide > room and rows[-1].width > begin:
            if word[0][0].isspace():
                continue  # the space at which a row breaks
            begin = _next(rows, indent)
        for text, style in word:
            if rows[-1].width + cell_len(text) <= room:
                rows[-1].add(text, style)
                continue
            for part in _chunks(text, room - rows[-1].width, max(2, room - _width(indent))):
                if rows[-1].width + cell_len(part) > room:
                    begin = _next(rows, indent)
                rows[-1].add(part, style)
    return rows


def _next(rows: list[Line], indent: Line | None) -> int:
    row = Line()
    if indent is not None:
        row.join(indent)
    rows.append(row)
    return row.width


def _width(indent: Line | None) -> int:
    return 0 if indent is None else indent.width


def _words(runs: Iterable[Run]) -> Iterator[tuple[list[Run] | str, int]]:
    """Words over the borders of runs, spaces, and breaks, each with its width."""
    word: list[Run] = []
    wide = 0
    for text, style in runs:
        for part in _WORD.findall(text):
            alone = part.isspace() or (part[0] == "<" and part[-1] == ">")
            if word and (alone or word[-1][0].isspace() or word[-1][0][-1] == ">"):
                yield word, wide
                word, wide = [], 0
            if part == "\n":
                yield part, 0
            else:
                word.append((part, style))
                wide += cell_len(part)
    if word:
        yield word, wide


def _chunks(text: str, first: int, room: int) -> Iterator[str]:
    """A text that is too long for a row, cut to what is left of this one, then to whole rows."""
    if text.isascii():
        if first > 0:
            yield text[:first]
        for at in range(max(0, first), len(text), room):
            yield text[at : at + room]
        return
    start = used = 0
    limit = first
    for i, char in enumerate(text):
        wide = get_character_cell_size(char)
        if used + wide > limit:
            if i > start:
                yield text[start:i]
            start, used, limit = i, 0, room
        used += wide
    yield text[start:]
