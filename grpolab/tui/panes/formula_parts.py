"""The formula screen's two boxes: all algorithms, and the chosen one beside the one that it is
compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.tui import cards
from grpolab.tui.cards import Card, word
from grpolab.tui.palette import Palette
from grpolab.tui.panes import formula_live, told
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, visible, wrap

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Difference
    from grpolab.tui.screens.formula import FormulaScreen


class FormulaList(Part["FormulaScreen"]):
    title = "Algorithms"

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.desk.palette, self.sheet
        names = list(cards.cards())
        glyph, colour = self.desk.lane_mark(s.lane)
        out = []
        for i in window(len(names), names.index(s.at), height):
            name = names[i]
            here = name == s.at
            line = Line("▸" if here else " ", p.style("accent"))
            line.add(glyph if name == s.own else " ", p.style(colour))
            line.add("◆ " if name == s.base else "  ", p.style("warn"))
            line.cell(name, width - 4, p.style("accent" if here else "text", bold=here))
            line.whole(("algorithm", name), width)
            out.append(line.on(p.style("", "raised")) if here else line)
        return out


class FormulaBody(Part["FormulaScreen"]):
    title = "Formula"

    def info(self) -> tuple[str, str]:
        s = self.sheet
        if s.at == s.base:
            return s.at.upper(), "the lane's" if s.at == s.own else ""
        return f"− {s.base.upper()}  + {s.at.upper()}", "what differs"

    def content(self, width: int, height: int) -> list[Line]:
        s = self.sheet
        known = cards.cards()
        if s.at == s.base:
            return self._one(known[s.at], width)
        return self._two(known[s.base], known[s.at], width)

    def _head(self, text: str, width: int) -> Line:
        p = self.desk.palette
        line = Line("── ", p.style("line")).add(f"{text} ", p.style("dim"))
        return line.add("─" * max(0, width - line.width), p.style("line"))

    # one algorithm

    def _one(self, card: Card, width: int) -> list[Line]:
        p = self.desk.palette
        out = [Line(row, p.style("text", bold=True)) for row in wrap(card.title, width)]
        out += [Line(row, p.style("faint")) for row in wrap(card.paper, width)]
        out += [Line(), *told.formula(p, card.formula, width), Line()]
        terms, branch, where = self.sheet.explained(card.name)
        out += [Line(row, p.style("faint")) for row in wrap(where, width) if row]
        out += told.table(p, terms, width, numbers=branch is not None)
        if branch is not None:
            out += [Line(), *told.branch(p, branch, width)]
            out += [Line(), *formula_live.group(self.desk, width)]
        out += [Line(), *self._facts(card, width), Line()]
        out += self._lineage(card, width) + self._presets(card, width)
        if card.name == self.sheet.own and (numbers := formula_live.metrics(self.desk, width)):
            out += [Line(), self._head("the step's numbers", width), *numbers]
        return out

    def _facts(self, card: Card, width: int) -> list[Line]:
        needs = ", ".join(card.needs["paper"]) or "nothing besides the policy"
        return [
            *self._pair("mean", card.aggregation, width),
            *self._pair("needs", needs, width),
            self._source(card),
        ]

    def _source(self, card: Card) -> Line:
        """Where the file lies, to click on."""
        p, key = self.desk.palette, self.desk.keymap.shown("formula_source")
        hit = ("run", "formula_source")
        line = Line().cell("source", 9, p.style("dim"))
        line.add(key, p.style("accent", bold=True), hit=hit).add(" ")
        return line.add(f"algorithms/{card.file}", p.style("text"), hit=hit)

    def _pair(self, name: str, text: str, width: int, colour: str = "text") -> list[Line]:
        p = self.desk.palette
        rows = wrap(text, max(8, width - 9))
        out = [Line().cell(name, 9, p.style("dim")).add(rows[0], p.style(colour))]
        return out + [Line().to(9).add(row, p.style(colour)) for row in rows[1:]]

    def _lineage(self, card: Card, width: int) -> list[Line]:
        """The line back to where it begins, nearest first."""
        from grpolab.algorithms import ALGORITHMS
        from grpolab.algorithms.explain import lineage

        p = self.desk.palette
        out = [self._head("lineage", width)]
        for child, ancestor, change in lineage(card.name, ALGORITHMS):
            line = Line(f"{child} ", p.style("accent" if child == card.name else "text"))
            line.add("← ", p.style("dim")).add(ancestor, p.style("text"), ("algorithm", ancestor))
            rows = wrap(change, max(8, width - 4))
            out += [line, *(Line("    ").add(row, p.style("dim")) for row in rows)]
        if len(out) == 1:
            out.append(Line("the line begins with it", p.style("dim")))
        return [*out, Line()]

    def _presets(self, card: Card, width: int) -> list[Line]:
        out = [self._head("presets", width)]
        for name, values in card.presets.items():
            changes = ", ".join(f"{k} {word(v)}" for k, v in values.items())
            out += self._pair(name, changes or "the defaults", width)
        return out

    # two algorithms

    def _two(self, base: Card, card: Card, width: int) -> list[Line]:
        from grpolab.algorithms import ALGORITHMS
        from grpolab.algorithms.explain import difference, terms

        p = self.desk.palette
        out = []
        for sign, one, hue in (("−", base, "minus"), ("+", card, "plus")):
            line = Line(f"{sign} ", p.style(hue, bold=True))
            line.add(f"{one.name.upper()} ", p.style("text", bold=True))
            line.add(clip(one.title, max(0, width - line.width)), p.style("text"))
            out += [line, Line("  ").add(clip(one.paper, width - 2), p.style("faint"))]
        out.append(Line())
        for d in difference(ALGORITHMS[base.name], ALGORITHMS[card.name]):
            out += self._statement(d, width)
        out.append(Line())
        known = {t.symbol for t in terms(ALGORITHMS[base.name])}
        fresh = [t for t in terms(ALGORITHMS[card.name]) if t.symbol not in known]
        if fresh:
            out += [self._head(f"symbols that {base.name} does not have", width)]
            out += [*told.table(p, fresh, width, numbers=False), Line()]
        out += [self._head("settings that differ", width)]
        out += [*_settings(self.sheet, p, base, card, width), Line()]
        return out + self._lineage(card, width) + self._presets(card, width)

    def _statement(self, d: Difference, width: int) -> list[Line]:
        """One statement: as it is where both have it, else the one and the other, what differs
        in bold between brackets."""
        p = self.desk.palette
        if d.same:
            text = "".join(t for _, t in d.parts)
            return [
                Line("  ").add(row, p.style("text")) for part in text.split("\n")
                for row in wrap(part, width - 2)
            ]  # fmt: skip
        out = []
        for sign, side, hue in (("−", "left", "minus"), ("+", "right", "plus")):
            if not any(kind == side or (kind == "same" and t.strip()) for kind, t in d.parts):
                continue
            lone = not any(kind == "same" for kind, _ in d.parts)
            line = Line(f"{sign} ", p.style(hue, bold=True))
            for kind, text in d.parts:
                if kind not in ("same", side):
                    continue
                style = p.style("dim") if kind == "same" else p.style(hue, bold=True)
                for i, part in enumerate(text.split("\n")):
                    if i:
                        out.append(line)
                        line = Line(f"{sign} ", p.style(hue, bold=True))
                    if kind == side and not lone and (inner := part.strip()):
                        part = part.replace(inner, f"[{inner}]")
                    line = self._flow(out, line, part, style, width)
            out.append(line)
        return out

    def _flow(self, out: list[Line], line: Line, text: str, style: object, width: int) -> Line:
        """Add words to a row; a full one goes out and a new one begins."""
        for piece in _words(text):
            if line.width + len(piece) > width and line.width > 4:
                out.append(line)
                line, piece = Line("    "), piece.lstrip()
            line.add(piece, style)  # pyright: ignore[reportArgumentType]
        return line


def _settings(sheet: FormulaScreen, p: Palette, base: Card, card: Card, width: int) -> list[Line]:
    """Settings in two columns, those alone that differ."""
    (ours, here), (theirs, there) = sheet.values(base), sheet.values(card)
    wide = max(10, (width - 22) // 2)
    head = Line().cell("", 20).cell(f"− {base.name} {here}", wide, p.style("minus"))
    out = [head.cell(f"+ {card.name} {there}", wide, p.style("plus"))]
    if "aggregation" not in ours or "aggregation" not in theirs:
        ours, theirs = {"mean": base.aggregation} | ours, {"mean": card.aggregation} | theirs
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = (word(x[key]) if key in x else "not there" for x in (ours, theirs))
        if a != b:
            line = Line().cell(key, 20, p.style("dim"))
            line.cell(f"− {visible(a)}", wide, p.style("text" if key in ours else "faint"))
            line.cell(f"+ {visible(b)}", wide, p.style("text" if key in theirs else "faint"))
            out.append(line)
    return out if len(out) > 1 else [Line("none", p.style("dim"))]


def _words(text: str) -> list[str]:
    """Words with the space after them."""
    out: list[str] = []
    for part in text.split(" "):
        out += [part, " "]
    return [x for x in out[:-1] if x]
