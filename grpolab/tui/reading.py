"""An answer as it was graded: the exact string with every character to be seen, or rendered; and
which part of it the grader took for the answer.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rich.style import Style

from grpolab.tui.markdown import markdown
from grpolab.tui.palette import Palette
from grpolab.tui.text import MOST_SHOWN, Line, visible
from grpolab.tui.wrapping import Run, wrapped

TAGS = re.compile(r"(</?(?:think|answer)>)")
_MARK = "▐ "

Span = tuple[int, int]


def graded_span(text: str, answer: str | None) -> Span | None:
    """Where the part that was taken as the answer stands; None where nothing was, or where it is
    not to be found."""
    if answer is None:
        return None
    from grpolab.rewards.parse import parse_completion  # pydantic: not before the first frame

    span = parse_completion(text).answer_span
    if span is not None and span.text == answer:
        return span.at, span.at + len(span.text)
    at = text.rfind(answer) if answer else -1
    return (at, at + len(answer)) if at >= 0 else None


def _parts(text: str, span: Span | None, hit: Span | None = None) -> list[tuple[str, bool, bool]]:
    """The text in pieces: each whether it was graded, and whether it was looked for."""
    a, b = span or (0, 0)
    c, d = hit or (0, 0)
    cuts = sorted({min(len(text), at) for at in (0, a, b, c, d, len(text))})
    return [(text[x:y], a <= x < b, c <= x < d) for x, y in pairwise(cuts)]


def plain(
    text: str, span: Span | None, width: int, p: Palette, hit: Span | None = None
) -> list[Line]:
    """The exact string. Controls have their pictures, line breaks show as ⏎; the graded part is
    underlined, its rows have a bar before them. `hit`: what was looked for, marked too."""
    runs: list[Run] = []
    colour = "text"
    graded = p.style("good", bold=True, underline=True)
    sought = p.style("warn", bold=True, underline=True)
    both = p.style("warn", "raised", bold=True, underline=True)
    for part, within, looked in _parts(text[:MOST_SHOWN], span, hit):
        if within or looked:
            style = both if within and looked else graded if within else sought
            runs.append((visible(part, newline="⏎\n"), style))
            continue
        for piece in TAGS.split(part):
            if TAGS.fullmatch(piece):
                runs.append((piece, p.style("faint")))
                colour = {"<think>": "dim"}.get(piece, "text")
            elif piece:
                runs.append((visible(piece, newline="⏎\n"), p.style(colour)))
    rows = wrapped(runs, max(2, width - 2))
    marked = [any(s.style is graded or s.style is both for s in row.segments) for row in rows]
    out = [_bar(row, mark, p) for row, mark in zip(rows, marked, strict=True)]
    left = len(text) - MOST_SHOWN
    if left > 0:
        out.append(Line(f"  … {left:,} more characters; saved to a file, all are in it",
                        p.style("warn")))  # fmt: skip
    return out


def rendered(text: str, span: Span | None, width: int, p: Palette) -> list[Line]:
    """Thought and answer as Markdown with formulas; the graded part stands by itself, with a bar
    before its rows."""
    out: list[Line] = []
    colour = "text"
    for part, within, _ in _parts(text[:MOST_SHOWN], span):
        for piece in (part,) if within else TAGS.split(part):
            if not within and TAGS.fullmatch(piece):
                colour = {"<think>": "dim"}.get(piece, "text")
                out.append(Line("  " + piece, p.style("faint")))
            elif piece.strip() or (within and piece):
                rows = markdown(piece, width - 2, p, "good" if within else colour)
                out += [_bar(row, within, p) for row in rows]
    return out


def _bar(row: Line, marked: bool, p: Palette) -> Line:
    style: Style = p.style("good")
    return (Line(_MARK, style) if marked else Line("  ")).join(row)
