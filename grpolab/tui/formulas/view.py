"""The formula screen's two boxes: the list of algorithms, and one algorithm explained or compared
with another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import Card, word
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import explain_view
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import (
    Line,
    clip,
    fixed,
    flow,
    number,
    signed,
    visible,
    wrap,
)

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Difference
    from grpolab.tui.formulas.screen import FormulaScreen

MOST = 64
"""Answers of a group that are listed at most."""


class FormulaList(Box["FormulaScreen"]):
    title = "Algorithms"

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        names = list(algorithm_cards.cards())
        glyph, colour = self.context.lane_mark(s.lane)
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


class FormulaBody(Box["FormulaScreen"]):
    title = "Formula"

    def info(self) -> tuple[str, str]:
        s = self.overlay
        if s.at == s.base:
            return s.at.upper(), "this lane's algorithm" if s.at == s.own else ""
        return f"− {s.base.upper()}  + {s.at.upper()}", "differences"

    def content(self, width: int, height: int) -> list[Line]:
        s = self.overlay
        known = algorithm_cards.cards()
        if s.at == s.base:
            return self._one(known[s.at], width)
        return self._two(known[s.base], known[s.at], width)

    def _head(self, text: str, width: int) -> Line:
        p = self.context.palette
        line = Line("── ", p.style("line")).add(f"{text} ", p.style("dim"))
        return line.add("─" * max(0, width - line.width), p.style("line"))

    # one algorithm

    def _one(self, card: Card, width: int) -> list[Line]:
        p = self.context.palette
        out = [Line(row, p.style("text", bold=True)) for row in wrap(card.title, width)]
        out += [Line(row, p.style("faint")) for row in wrap(card.paper, width)]
        out += [Line(), *explain_view.formula(p, card.formula, width), Line()]
        terms, one, where = self.overlay.explained(card.name)
        out += [Line(row, p.style("faint")) for row in wrap(where, width) if row]
        out += explain_view.table(p, terms, width, numbers=one is not None)
        if one is not None:
            out += [Line(), *explain_view.branch(p, one, width)]
            out += [Line(), *group_rewards(self.context, width)]
        out += [Line(), *self._facts(card, width), Line()]
        out += self._lineage(card, width) + self._presets(card, width)
        if card.name == self.overlay.own and (numbers := step_metrics(self.context, width)):
            out += [Line(), self._head("metrics of this step", width), *numbers]
        return out

    def _facts(self, card: Card, width: int) -> list[Line]:
        needs = ", ".join(card.needs["paper"]) or "only the policy"
        return [
            *self._pair("mean", card.aggregation, width),
            *self._pair("needs", needs, width),
            self._source(card),
        ]

    def _source(self, card: Card) -> Line:
        """The source file, which can be clicked."""
        p, key = self.context.palette, self.context.keymap.shown("formula_source")
        hit = ("run", "formula_source")
        line = Line().cell("source", 9, p.style("dim"))
        line.add(key, p.style("accent", bold=True), hit=hit).add(" ")
        return line.add(f"algorithms/{card.file}", p.style("text"), hit=hit)

    def _pair(self, name: str, text: str, width: int, colour: str = "text") -> list[Line]:
        p = self.context.palette
        rows = wrap(text, max(8, width - 9))
        out = [Line().cell(name, 9, p.style("dim")).add(rows[0], p.style(colour))]
        return out + [Line().to(9).add(row, p.style(colour)) for row in rows[1:]]

    def _lineage(self, card: Card, width: int) -> list[Line]:
        """Its ancestors, nearest first, and what each step changed."""
        from grpolab.algorithms import ALGORITHMS
        from grpolab.algorithms.explain import lineage

        p = self.context.palette
        out = [self._head("lineage", width)]
        for child, ancestor, change in lineage(card.name, ALGORITHMS):
            line = Line(f"{child} ", p.style("accent" if child == card.name else "text"))
            line.add("← ", p.style("dim")).add(ancestor, p.style("text"), ("algorithm", ancestor))
            rows = wrap(change, max(8, width - 4))
            out += [line, *(Line("    ").add(row, p.style("dim")) for row in rows)]
        if len(out) == 1:
            out.append(Line("no ancestor", p.style("dim")))
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

        p = self.context.palette
        out = []
        for mark, one, hue in (("−", base, "minus"), ("+", card, "plus")):
            line = Line(f"{mark} ", p.style(hue, bold=True))
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
            out += [self._head(f"symbols not in {base.name}", width)]
            out += [*explain_view.table(p, fresh, width, numbers=False), Line()]
        out += [self._head("different settings", width)]
        out += [*_settings(self.overlay, p, base, card, width), Line()]
        return out + self._lineage(card, width) + self._presets(card, width)

    def _statement(self, d: Difference, width: int) -> list[Line]:
        """One statement: once if both formulas have it, else both versions, with the differing
        parts in bold brackets."""
        p = self.context.palette
        if d.same:
            text = "".join(t for _, t in d.parts)
            return [
                Line("  ").add(row, p.style("text")) for part in text.split("\n")
                for row in wrap(part, width - 2)
            ]  # fmt: skip
        out = []
        for mark, side, hue in (("−", "left", "minus"), ("+", "right", "plus")):
            if not any(kind == side or (kind == "same" and t.strip()) for kind, t in d.parts):
                continue
            lone = not any(kind == "same" for kind, _ in d.parts)
            line = Line(f"{mark} ", p.style(hue, bold=True))
            for kind, text in d.parts:
                if kind not in ("same", side):
                    continue
                style = p.style("dim") if kind == "same" else p.style(hue, bold=True)
                for i, part in enumerate(text.split("\n")):
                    if i:
                        out.append(line)
                        line = Line(f"{mark} ", p.style(hue, bold=True))
                    if kind == side and not lone and (inner := part.strip()):
                        part = part.replace(inner, f"[{inner}]")
                    line = self._flow(out, line, part, style, width)
            out.append(line)
        return out

    def _flow(self, out: list[Line], line: Line, text: str, style: object, width: int) -> Line:
        """Add words to `line`; append full rows to `out`. Returns the last, unfinished row."""
        for piece in _words(text):
            if line.width + len(piece) > width and line.width > 4:
                out.append(line)
                line, piece = Line("    "), piece.lstrip()
            line.add(piece, style)  # pyright: ignore[reportArgumentType]
        return line


def _settings(overlay: FormulaScreen, p: Palette, base: Card, card: Card, width: int) -> list[Line]:
    """The settings that differ, in two columns."""
    (ours, here), (theirs, there) = overlay.values(base), overlay.values(card)
    wide = max(10, (width - 22) // 2)
    head = Line().cell("", 20).cell(f"− {base.name} {here}", wide, p.style("minus"))
    out = [head.cell(f"+ {card.name} {there}", wide, p.style("plus"))]
    if "aggregation" not in ours or "aggregation" not in theirs:
        ours, theirs = {"mean": base.aggregation} | ours, {"mean": card.aggregation} | theirs
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = (word(x[key]) if key in x else "n/a" for x in (ours, theirs))
        if a != b:
            line = Line().cell(key, 20, p.style("dim"))
            line.cell(f"− {visible(a)}", wide, p.style("text" if key in ours else "faint"))
            line.cell(f"+ {visible(b)}", wide, p.style("text" if key in theirs else "faint"))
            out.append(line)
    return out if len(out) > 1 else [Line("none", p.style("dim"))]


def _words(text: str) -> list[str]:
    """Words and the spaces between them."""
    out: list[str] = []
    for part in text.split(" "):
        out += [part, " "]
    return [x for x in out[:-1] if x]


def group_rewards(context: AppContext, width: int) -> list[Line]:
    """The group of the selected token: each answer's reward r and advantage Â."""
    p, view = context.palette, context.view
    r = view.scored(context.state)
    if r is None or r.graded is None or not r.group_size:
        return []
    advantages, here = r.channel("advantage"), view.row(r)
    rows = list(r.rows(here // r.group_size))
    rewards = [r.graded.reward[i] for i in rows]
    mean = math.fsum(rewards) / len(rewards)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in rewards) / len(rewards))
    parts = []
    for i in rows[:MOST]:
        line = Line("▸" if i == here else " ", p.style("accent"))
        line.add("● " if r.graded.correct[i] else "○ ", p.style("good" if i == here else "dim"))
        line.add(f"r {fixed(r.graded.reward[i])} ", p.style("text", bold=i == here))
        found = advantages[i] if advantages is not None and i < len(advantages) else []
        if found:
            value = math.fsum(found) / len(found)
            mark, hue = sign(value)
            line.add(f"Â {mark}{signed(value)}", p.style(hue))
        parts.append(line)
    told = f"group: mean of r {number(mean)}, std {number(spread)}"
    told += "; zero variance" if spread == 0 else ""
    told += f"; the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    return [*(Line(x, p.style("dim")) for x in wrap(told, width)), *flow(parts, width, "  ")]


def step_metrics(context: AppContext, width: int) -> list[Line]:
    """Every metric of the step in view, and what it means."""
    p, done = context.palette, context.view.done(context.state)
    out = []
    for key, value in done.metrics.items() if done is not None else ():
        line = Line().cell(visible(key.replace("_", " ")), 19, p.style("dim")).add(" ")
        line.cell(number(value), 9, p.style("text"), right=True).add("  ")
        at = line.width
        hint = METRICS.get(key, "a metric unknown to this version")
        rows = wrap(hint, max(12, width - at))
        line.hits.append((0, width, ("metric", key)))
        out.append(line.add(rows[0], p.style("faint")))
        out += [Line().to(at).add(row, p.style("faint")) for row in rows[1:]]
    return out
