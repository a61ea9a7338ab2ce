"""Lines of cells. Model text passes through `visible`: whatever could steer a terminal is shown
instead of sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
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
    letter stays, more would pile up over neighbouring lines.
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
