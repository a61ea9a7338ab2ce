"""An answer as it was graded: the exact string with every character to be seen, or rendered; and
which part of it the grader took for the answer.
"""

from __future__ import annotations

import re

from rich.style import Style

from grpolab.tui.markdown import markdown
from grpolab.tui.palette import Palette
from grpolab.tui.text import MOST_SHOWN, Line, visible
from grpolab.tui.wrapping import Run, wrapped

TAGS = re.compile(r"(</?(?:think|answer)>)")
_MARK = "▐ "


def graded_span(text: str, answer: str | None) -> tuple[int, int] | None:
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


def _parts(text: str, span: tuple[int, int] | None) -> list[tuple[str, bool]]:
    """The text before, in and after the graded part."""
    if span is None:
        return [(text, False)]
    a, b = span
    return [(text[:a], False), (text[a:b], True), (text[b:], False)]


def plain(text: str, span: tuple[int, int] | None, width: int, p: Palette) -> list[Line]:
    """The exact string. Controls have their pictures, line breaks show as ⏎; the graded part is
    underlined, its rows have a bar before them."""
    runs: list[Run] = []
    marked: set[int] = set()
    colour = "text"
    graded = p.style("good", bold=True, underline=True)
    for part, within in _parts(text[:MOST_SHOWN], span):
        if within:
            runs.append((visible(part, newline="⏎\n"), graded))
            continue
        for piece in TAGS.split(part):
            if TAGS.fullmatch(piece):
                runs.append((piece, p.style("faint")))
                colour = {"<think>": "dim"}.get(piece, "text")
            elif piece:
                runs.append((visible(piece, newline="⏎\n"), p.style(colour)))
    rows = wrapped(runs, max(2, width - 2))
    for i, row in enumerate(rows):
        if any(s.style is graded for s in row.segments):
            marked.add(i)
    out = [_bar(row, i in marked, p) for i, row in enumerate(rows)]
    left = len(text) - MOST_SHOWN
    if left > 0:
        out.append(Line(f"  … {left:,} more characters; saved to a file, all are in it",
                        p.style("warn")))  # fmt: skip
    return out


def rendered(text: str, span: tuple[int, int] | None, width: int, p: Palette) -> list[Line]:
    """Thought and answer as Markdown with formulas; the graded part stands by itself, with a bar
    before its rows."""
    out: list[Line] = []
    colour = "text"
    for part, within in _parts(text[:MOST_SHOWN], span):
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
