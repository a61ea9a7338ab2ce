"""One answer to be read: its text, plain or rendered, and what is known about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.tui import reading
from grpolab.tui.group import ORDERS, mark
from grpolab.tui.numbers import MISSING, fixed, number, signed
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, flow, visible
from grpolab.tui.wrapping import wrapped

if TYPE_CHECKING:
    from grpolab.tui.screens.reader import Reader


class ReaderText(Part["Reader"]):
    title = "Answer"
    period = 0.2

    def __init__(self, sheet: Reader, *, id: str) -> None:
        super().__init__(sheet, id=id)
        self._cache: tuple[object, list[Line]] = ((), [])

    def info(self) -> tuple[str, str]:
        g = self.sheet.group
        text = g.rollout.text[g.row] if g.rollout.text else ""
        how = "rendered" if g.rendered else "the exact string"
        return f"{g.answer + 1} of {g.rollout.group_size} · {how}", f"{len(text):,} characters"

    def content(self, width: int, height: int) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        r = g.rollout
        text = r.text[g.row] if g.row < len(r.text) else ""
        key = (id(r), g.row, len(text), r.graded is None, g.rendered, width, p.name)
        if self._cache[0] != key:
            answer = r.graded.answer[g.row] if r.graded else None
            span = reading.graded_span(text, answer)
            how = reading.rendered if g.rendered else reading.plain
            rows = how(text, span, width, p) if text else [Line("  (empty answer)", p.style("dim"))]
            self._cache = (key, rows)
        return self._cache[1]

    def scroll(self, by: int) -> None:
        self.sheet.group.top = max(0, self.sheet.group.top + by)
        self.paint()

    def lines(self, width: int, height: int) -> list[Line]:
        self.top = self.sheet.group.top
        out = super().lines(width, height)
        self.sheet.group.top = self.top
        return out


class ReaderFacts(Part["Reader"]):
    title = "About it"

    def info(self) -> tuple[str, str]:
        g = self.sheet.group
        r = g.rollout
        level = visible(r.difficulty[g.prompt]) if g.prompt < len(r.difficulty) else ""
        where = f"prompt {g.prompt + 1}/{len(r.prompts)} · step {r.step} · {r.algorithm.upper()}"
        return where + (f" · {level}" if level else ""), visible(g.lane)

    def content(self, width: int, height: int) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        r = g.rollout
        asked = visible(r.prompts[g.prompt], newline="⏎\n") if g.prompt < len(r.prompts) else ""
        out: list[Line] = []
        most = max(2, height // 3)
        bold = p.style("text", bold=True)
        rows = wrapped([(asked[: width * most * 2], bold)], width)
        if len(rows) > most:
            rows = [*rows[: most - 1], Line(clip(rows[most - 1].plain + " …", width), bold)]
        out += rows
        out += self._graded(width) if r.graded else self._growing()
        return [*out, *self._others(width, height - len(out))]

    def _others(self, width: int, height: int) -> list[Line]:
        """The answers of the group in their order, where there is room for some."""
        g, p = self.sheet.group, self.desk.palette
        r = g.rollout
        if height < 5:
            return []
        order = g.sorted()
        told = g.order if g.order == ORDERS[0] else f"by {g.order}"
        out = [Line(), Line(f"its group, {told}", p.style("dim"))]
        at = order.index(g.answer) if g.answer in order else 0
        for i in window(len(order), at, height - 2):
            answer, row = order[i], g.prompt * r.group_size + order[i]
            here = answer == g.answer
            glyph, colour, _ = mark(r, row)
            line = Line("▸" if here else " ", p.style("accent"))
            line.cell(f"{answer + 1} ", 5, p.style("dim"), right=True)
            line.add(f"{glyph} ", p.style(colour))
            if r.graded is not None:
                line.add(f"{fixed(r.graded.reward[row])}  ", p.style("text", bold=here))
            text = visible(r.text[row][: width * 2])
            line.add(clip(text, max(0, width - line.width)), p.style("dim"))
            line.to(width).whole(("answer", answer), width)
            out.append(line.on(p.style("", "raised")) if here else line)
        return out

    def _growing(self) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        glyph, colour, word = mark(g.rollout, g.row)
        return [Line(f"{glyph} {word}; not graded yet", p.style(colour))]

    def _graded(self, width: int) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        r, row = g.rollout, g.row
        graded = r.graded
        assert graded is not None
        glyph, colour, word = mark(r, row)
        verdict = Line(f"{glyph} {word}", p.style(colour, bold=True))
        if not graded.finished[row]:
            verdict.add(f" at {r.max_tokens} tokens", p.style(colour))
        taken = graded.answer[row]
        if taken is None:
            took = Line("no answer was found in it", p.style("warn"))
        else:
            took = Line("graded as the answer: ", p.style("dim"))
            took.add(clip(visible(taken), max(8, width - took.width)) or "(empty)",
                     p.style("good", bold=True, underline=True))  # fmt: skip
        pieces = [verdict, Line(f"{graded.length[row]} tokens", p.style("dim")), took]
        out = flow(pieces, width, "   ")
        sums = [
            Line(f"{visible(name)} ", p.style("dim")).add(fixed(value), p.style("text"))
            for name, value in graded.parts[row].items()
        ]
        total = Line("reward ", p.style("dim"))
        total.add(fixed(graded.reward[row]), p.style("text", bold=True))
        out += flow([total, *([Line("=", p.style("dim"))] if sums else []), *sums], width, "  ")
        out += self._advantage(width)
        steps = graded.steps[row] if row < len(graded.steps) else []
        if steps:
            told = "  ".join(f"{i}: {number(score)}" for i, (_, score) in enumerate(steps, 1))
            out += wrapped([(f"its steps' scores  {told}", p.style("dim"))], width)
        return out

    def _advantage(self, width: int) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        advantage = g.rollout.advantage(g.row)
        line = Line("advantage ", p.style("dim"))
        if advantage is None:
            line.add(MISSING, p.style("faint"))
        else:
            sign = "▲" if advantage > 0 else "▼" if advantage < 0 else "·"
            hue = "warn" if math.isnan(advantage) else "plus" if advantage > 0 else "minus"
            told = f"{sign}{signed(advantage)}"
            told += " (mean of its tokens)" if width >= 44 else ""
            line.add(told, p.style("dim" if sign == "·" else hue))
        stats = g.stats()
        group = Line()
        if stats is not None:
            group.add(f"its group: mean {fixed(stats[0])} ± {fixed(stats[1])}", p.style("dim"))
        return flow([line, group], width, "   ")
