"""Markdown with formulas as rows of cells. What the text says is only ever shown: no links to
follow, no HTML, no control characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style

from grpolab.tui.widgets.latex import unicode
from grpolab.tui.widgets.math_markup import parser
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import Line, Run, clip, visible, wrapped

if TYPE_CHECKING:
    from markdown_it.token import Token

LONGEST = 20_000
"""Characters that are rendered; a longer text is shown as it is from there on."""

DEEPEST = 18
"""Quotes and lists within each other."""

BULLETS = "•◦▪"


def markdown(text: str, width: int, p: Palette, colour: str = "text") -> list[Line]:
    """The text rendered for a width. Never raises, whatever it is."""
    head, rest = text[:LONGEST], text[LONGEST:]
    rows = _Rows(p, max(8, width), colour)
    try:
        tokens = parser().parse(head)
        if any(t.level >= DEEPEST for t in tokens):
            raise ValueError  # what lies deeper is left out by the parser
        rows.blocks(tokens)
    except (RecursionError, IndexError, ValueError):  # a parser's own limits: show it as it is
        return wrapped([(visible(text, newline="\n"), p.style(colour))], width)
    if rest:
        rows.out += wrapped([(visible(rest, newline="\n"), p.style(colour))], width)
    return rows.out


class _Rows:
    def __init__(self, p: Palette, width: int, colour: str) -> None:
        self.p, self.width = p, width
        self.colour = colour
        self.out: list[Line] = []
        self.bars: list[str] = []  # what stands before every row: quotes and lists
        self.counts: list[int] = []  # of ordered lists; −1 in bulleted ones
        self.bullet = ""  # before the next row only

    def blocks(self, tokens: Sequence[Token]) -> None:
        i = 0
        while i < len(tokens):
            token = tokens[i]
            kind = token.type
            if kind == "inline":
                self.put(self.runs(token))
            elif kind == "heading_open":
                self.gap()
                self.put([("▌ ", self.p.style("accent")), *self.runs(tokens[i + 1], bold=True)])
                i += 2
            elif kind in ("fence", "code_block"):
                self.code(token.content)
            elif kind == "math_block":
                self.gap()
                style = self.p.style("accent")
                for line in unicode(token.content).split("\n"):
                    self.put([("  " + visible(line), style)])
            elif kind == "hr":
                self.put([("─" * max(3, self.room // 2), self.p.style("line"))])
            elif kind == "blockquote_open":
                self.bars.append("▏ ")
            elif kind in ("bullet_list_open", "ordered_list_open"):
                start = int(token.attrGet("start") or 1) if kind[0] == "o" else -1
                self.counts.append(start)
            elif kind == "list_item_open":
                self.item()
            elif kind in ("list_item_close", "blockquote_close"):
                self.bars = self.bars[:-1]
                self.bullet = ""
            elif kind in ("bullet_list_close", "ordered_list_close"):
                self.counts = self.counts[:-1]
            elif kind == "paragraph_open" and not self.bullet and not token.hidden:
                self.gap()
            elif kind == "table_open":
                end = next(j for j in range(i, len(tokens)) if tokens[j].type == "table_close")
                self.table(tokens[i:end])
                i = end
            i += 1

    @property
    def room(self) -> int:
        return max(4, self.width - sum(map(len, self.bars)))

    def item(self) -> None:
        n = self.counts[-1] if self.counts else -1
        if n >= 0:
            self.counts[-1] = n + 1
            self.bullet = f"{n}. "
        else:
            self.bullet = BULLETS[(len(self.counts) - 1) % 3] + " "
        self.bars.append(" " * len(self.bullet))

    def gap(self) -> None:
        """An empty row between blocks, not before the first and not within lists."""
        if self.out and self.out[-1].plain.strip() and not self.counts:
            self.out.append(self._before())

    def _before(self) -> Line:
        line = Line()
        bars = self.bars[:-1] if self.bullet else self.bars
        for bar in bars:
            line.add(bar, self.p.style("faint"))
        return line.add(self.bullet, self.p.style("accent"))

    def put(self, runs: list[Run]) -> None:
        for row in wrapped(runs, self.room):
            self.out.append(self._before().join(row))
            self.bullet = ""

    def code(self, text: str) -> None:
        self.gap()
        style = self.p.style("plus")
        for line in visible(text.rstrip("\n"), newline="\n").split("\n"):
            for row in wrapped([(line, style)], self.room - 2):
                self.out.append(self._before().add("▏ ", self.p.style("line")).join(row))
                self.bullet = ""

    def runs(self, token: Token, bold: bool = False) -> list[Run]:
        """An inline token's children as styled text."""
        p, out = self.p, []
        strong, slanted, struck = int(bold), 0, 0
        targets: list[str] = []
        for child in token.children or ():
            kind = child.type
            style = p.style(self.colour, bold=strong > 0)
            if slanted or struck:
                style += Style(italic=slanted > 0 or None, strike=struck > 0 or None)
            if kind in ("softbreak", "hardbreak"):
                out.append(("\n", style))
            elif kind == "code_inline":
                out.append((visible(child.content), p.style("plus", bold=strong > 0)))
            elif kind == "math":
                text = unicode(child.content).replace("\n", " ; ")
                out.append((visible(text), p.style("accent", bold=strong > 0)))
            elif kind in ("strong_open", "strong_close"):
                strong += 1 if child.nesting > 0 else -1
            elif kind in ("em_open", "em_close"):
                slanted += child.nesting
            elif kind in ("s_open", "s_close"):
                struck += child.nesting
            elif kind == "link_open":
                targets.append(str(child.attrGet("href") or ""))
            elif kind == "link_close" and targets:
                out.append((f" ‹{clip(visible(targets.pop()), 60)}›", p.style("dim")))
            elif child.content:
                out.append((visible(child.content, newline="\n"), style))
        return out

    def table(self, tokens: Sequence[Token]) -> None:
        """Columns as wide as they need and may be; cells are cut, not wrapped."""
        rows: list[list[str]] = []
        for token in tokens:
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "inline" and rows:
                rows[-1].append("".join(text for text, _ in self.runs(token)).replace("\n", " "))
        columns = max(map(len, rows), default=0)
        if not columns:
            return
        self.gap()
        columns = min(columns, max(1, (self.room + 3) // 6))  # what is more is not shown
        rows = [row[:columns] for row in rows]
        most = max(3, (self.room - 3 * (columns - 1)) // columns)
        wide = [
            min(most, max((cell_len(r[c]) for r in rows if c < len(r)), default=1))
            for c in range(columns)
        ]
        for i, row in enumerate(rows):
            line = self._before()
            for c, cell in enumerate(row):
                line.add(" │ " if c else "", self.p.style("line"))
                line.cell(cell, wide[c], self.p.style(self.colour, bold=i == 0))
            self.out.append(line)
            if i == 0:
                rule = "─┼─".join("─" * w for w in wide)
                self.out.append(self._before().add(clip(rule, self.room), self.p.style("line")))
