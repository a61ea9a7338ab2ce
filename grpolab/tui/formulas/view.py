"""The formula screen's two boxes: all algorithms, and the chosen one beside the one that it is
compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import Card, word
from grpolab.tui.context import AppContext
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import (
    Line,
    clip,
    directed,
    fixed,
    flow,
    number,
    signed,
    visible,
    wrap,
)

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Branch, Difference, Term
    from grpolab.tui.formulas.screen import FormulaScreen


# --- formula_live ---
# What stands under a formula in force: the group that its numbers come from, and the step's
# metrics with their meaning.

MOST = 64
"""Answers of a group that are listed."""


def group(context: AppContext, width: int) -> list[Line]:
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
            mark, hue = (
                ("▲", "plus") if value > 0 else ("▼", "minus") if value < 0 else ("·", "dim")
            )
            line.add(f"Â {mark}{signed(value)}", p.style(hue))
        parts.append(line)
    told = f"its group: mean of r {number(mean)}, std {number(spread)}"
    told += "; all rewards are equal: no signal" if spread == 0 else ""
    told += f"; the first {MOST} of {len(rows)}" if len(rows) > MOST else ""
    return [*(Line(x, p.style("dim")) for x in wrap(told, width)), *flow(parts, width, "  ")]


def metrics(context: AppContext, width: int) -> list[Line]:
    """Every number of the step, and what it means."""
    p, done = context.palette, context.view.done(context.state)
    out = []
    for key, value in done.metrics.items() if done is not None else ():
        line = (
            Line()
            .cell(
                visible(key.replace("_", " ")),
                19,
                p.style("dim"),
            )
            .add(" ")
        )
        line.cell(number(value), 9, p.style("text"), right=True).add("  ")
        at = line.width
        hint = METRICS.get(key, "a number that this version does not know")
        rows = wrap(hint, max(12, width - at))
        line.hits.append((0, width, ("metric", key)))
        out.append(line.add(rows[0], p.style("faint")))
        out += [Line().to(at).add(row, p.style("faint")) for row in rows[1:]]
    return out


# --- told ---
# An algorithm explained, as lines: its formula, what the symbols mean and are worth now, and
# which branch its objective takes at one token. Used by the algorithm pane, the lens and the
# formulas.


def formula(p: Palette, text: str, width: int) -> list[Line]:
    """Its statements, each behind a bar; what does not fit goes on one step in."""
    out = []
    for statement in text.split("\n"):
        for i, row in enumerate(wrap(statement, max(1, width - 4))):
            bar = Line("▌ " if i == 0 else "▌   ", p.style("accent"))
            out.append(bar.add(row, p.style("text")))
    return out


def table(p: Palette, terms: Sequence[Term], width: int, *, numbers: bool = True) -> list[Line]:
    """One symbol a row: what it is worth now, and what it means."""
    out = []
    wide = max([6, *(len(term.symbol) + 1 for term in terms)])
    for term in terms:
        line = Line("  ").cell(term.symbol, wide, p.style("text", bold=True))
        if numbers:
            known = term.value is not None
            line.cell(_told(term.value), 9, p.style("text" if known else "faint"), right=True)
        line.add("  ")
        rows = wrap(term.meaning, max(8, width - line.width))
        at = line.width
        out.append(line.add(rows[0], p.style("dim")))
        out += [Line().to(at).add(row, p.style("dim")) for row in rows[1:]]
    return out


def short(p: Palette, terms: Sequence[Term], width: int) -> list[Line]:
    """The symbols that have a number, one after another."""
    known = [t for t in terms if t.value is not None]
    parts = [
        Line(f"{t.symbol} ", p.style("dim")).add(_told(t.value), p.style("text")) for t in known
    ]
    return flow(parts, width, "  ")


def branch(p: Palette, b: Branch, width: int, gradient: float | None = None) -> list[Line]:
    """What min() chose from, why, and which way the token is pushed."""
    out: list[Line] = []
    if len(b.candidates) > 1:
        parts = [Line("min of", p.style("dim"))]
        won = next((i for i, (_, x) in enumerate(b.candidates) if x == b.gain), -1)
        for i, (what, value) in enumerate(b.candidates):
            here = i == won
            part = Line(f"{what} ", p.style("text" if here else "dim", bold=here))
            part.add(_told(value), p.style("text" if here else "dim", bold=here))
            parts.append(part.add(" ◂ wins" if here else "", p.style("accent")))
        out += flow(parts, width)
    sign = "✂ " if b.clipped else ""
    out += [Line(row, p.style("warn" if sign else "text")) for row in wrap(sign + b.why, width)]
    mark, hue = {"up": ("▲", "plus"), "down": ("▼", "minus")}.get(b.push, ("·", "dim"))
    line = Line("pushed ", p.style("dim")).add(f"{mark} {b.push}", p.style(hue, bold=True))
    parts = [line, _slope(p, "∂gain/∂log π", b.slope)]
    if gradient is not None:
        parts.append(_slope(p, "∂loss/∂log π", gradient))
        if gradient and not b.slope:
            parts.append(Line("by the KL or another term", p.style("dim")))
    return out + flow(parts, width)


def _told(value: float | None) -> str:
    """Four significant digits where that is short, nothing that only looks exact."""
    if value is None or not math.isfinite(value) or not 1e-3 <= abs(value) < 1e4:
        return "0" if value == 0 else number(value, 4)
    return f"{value:.4g}".replace("-", "−")


def _slope(p: Palette, what: str, value: float) -> Line:
    return Line(f"{what} ", p.style("dim")).add(directed(value, 4), p.style("text"))


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
            return s.at.upper(), "the lane's" if s.at == s.own else ""
        return f"− {s.base.upper()}  + {s.at.upper()}", "what differs"

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
        out += [Line(), *formula(p, card.formula, width), Line()]
        terms, one, where = self.overlay.explained(card.name)
        out += [Line(row, p.style("faint")) for row in wrap(where, width) if row]
        out += table(p, terms, width, numbers=one is not None)
        if one is not None:
            out += [Line(), *branch(p, one, width)]
            out += [Line(), *group(self.context, width)]
        out += [Line(), *self._facts(card, width), Line()]
        out += self._lineage(card, width) + self._presets(card, width)
        if card.name == self.overlay.own and (numbers := metrics(self.context, width)):
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
        """The line back to where it begins, nearest first."""
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

        p = self.context.palette
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
            out += [*table(p, fresh, width, numbers=False), Line()]
        out += [self._head("settings that differ", width)]
        out += [*_settings(self.overlay, p, base, card, width), Line()]
        return out + self._lineage(card, width) + self._presets(card, width)

    def _statement(self, d: Difference, width: int) -> list[Line]:
        """One statement: as it is where both have it, else the one and the other, what differs
        in bold between brackets."""
        p = self.context.palette
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


def _settings(overlay: FormulaScreen, p: Palette, base: Card, card: Card, width: int) -> list[Line]:
    """Settings in two columns, those alone that differ."""
    (ours, here), (theirs, there) = overlay.values(base), overlay.values(card)
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
