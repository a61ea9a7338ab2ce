"""Styled text in rows, in time that grows with its length alone: an answer may be 100 KB on one
line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.cells import cell_len, get_character_cell_size
from rich.style import Style

from grpolab.tui.text import Line

Run = tuple[str, Style]
"""Printable text, without line breaks but for `\\n`, and how it looks."""

_WORD = re.compile(r"\n|[^\S\n]+|</?\w{1,20}>|[^\s<]+|<")
"""Breaks, spaces, tags (a row may break before and after one), and the pieces of words."""


def wrapped(runs: Iterable[Run], width: int, indent: Line | None = None) -> list[Line]:
    """Rows of at most `width` cells (2 at the least), broken at spaces where there are some;
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
