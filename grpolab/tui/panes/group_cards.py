"""A whole group side by side: one card an answer, in as many columns as fit."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from grpolab.tui.group import ORDERS, mark, shared
from grpolab.tui.numbers import MISSING, fixed, signed
from grpolab.tui.panes.rollouts import SHORT
from grpolab.tui.reading import graded_span
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, visible
from grpolab.tui.wrapping import Run, wrapped

if TYPE_CHECKING:
    from grpolab.rollout_view import RolloutView
    from grpolab.tui.screens.group import GroupScreen

NARROWEST = 26
"""Cells of a card."""
LOWEST = 7
"""Rows of a card."""


class GroupCards(Part["GroupScreen"]):
    sheet: GroupScreen
    title = "Group"

    def info(self) -> tuple[str, str]:
        g = self.sheet.group
        r = g.rollout
        where = f"step {r.step} · {r.algorithm.upper()} · prompt {g.prompt + 1}/{len(r.prompts)}"
        order = g.order if g.order == ORDERS[0] else f"by {g.order}"
        order += " ▼" if g.down else " ▲"
        at = g.sorted().index(g.answer) + 1 if g.answer < r.group_size else 0
        return where, f"{order} · {at}/{r.group_size}"

    def content(self, width: int, height: int) -> list[Line]:
        g = self.sheet.group
        r, p = g.rollout, self.desk.palette
        head = self._head(width)
        if not r.prompts or r.group_size < 1:
            return [*head, Line("no answers", p.style("faint"))]
        across, tall = self.shape(width, height - len(head))
        order = g.sorted()
        at = order.index(g.answer) if g.answer in order else 0
        down = max(1, (height - len(head)) // tall)
        first = max(0, min(at // across - down // 2, -(-len(order) // across) - down))
        out = head
        for line in range(first, first + down):
            answers = order[line * across : (line + 1) * across]
            if answers:
                out = out + self._row(answers, across, tall, width)
        below = len(order) - (first + down) * across
        if len(out) < height and below > 0:
            out.append(Line(f"▾ {below} more answers", p.style("dim")))
        return out

    def scroll(self, by: int) -> None:
        """All texts together."""
        self.sheet.scroll_texts(by)

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """How many cards go side by side, and how high each is."""
        size = max(1, self.sheet.group.rollout.group_size)
        across = max(1, min(size, (width + 1) // (NARROWEST + 1)))
        lines = -(-size // across)
        across = -(-size // lines)  # the last row as full as the others
        tall = max(LOWEST, height // min(lines, max(1, height // LOWEST)))
        needed = 5 + self._longest((width - across + 1) // across - 4)
        return across, max(LOWEST, min(tall, height, needed))

    def _longest(self, width: int) -> int:
        """About how many rows the longest of the texts takes."""
        g = self.sheet.group
        texts = (g.rollout.text[i][:4000] for i in g.rows)
        rows = (t.count("\n") + -(-len(t) * 4 // (3 * max(1, width))) for t in texts)
        return max(rows, default=0)

    def _head(self, width: int) -> list[Line]:
        """The prompt, and the group as a whole."""
        g, p = self.sheet.group, self.desk.palette
        r = g.rollout
        text = visible(r.prompts[g.prompt]) if g.prompt < len(r.prompts) else ""
        level = visible(r.difficulty[g.prompt]) if g.prompt < len(r.difficulty) else ""
        line = Line(clip(text, max(8, width - len(level) - 3)), p.style("text", bold=True))
        out = [line.add(f"  {level}", p.style("dim"))]
        line = Line()
        for glyph, colour, word in dict.fromkeys(mark(r, i) for i in g.rows):
            n = sum(mark(r, i)[0] == glyph for i in g.rows)
            line.add(f"{glyph} {n} {word}   ", p.style(colour))
        stats = g.stats()
        if stats is not None:
            mean, spread = stats
            line.add(f"mean reward {fixed(mean)} ± {fixed(spread)}", p.style("dim"))
            if spread == 0:
                told = "  all equal: no signal for GRPO and RLOO"
                line.add(clip(told, max(0, width - line.width)), p.style("warn"))
        return [*out, line]

    def _row(self, answers: list[int], across: int, tall: int, width: int) -> list[Line]:
        """Cards next to each other."""
        wide = (width - (across - 1)) // across
        out = [Line() for _ in range(tall)]
        for column, answer in enumerate(answers):
            for y, line in enumerate(self._card(answer, wide, tall)):
                out[y].to(column * (wide + 1)).join(line)
        return out

    def _card(self, answer: int, width: int, tall: int) -> list[Line]:
        g, p = self.sheet.group, self.desk.palette
        here = answer == g.answer
        r, row = g.rollout, g.prompt * g.rollout.group_size + answer
        glyph, colour, word = mark(r, row)
        edge = p.style("accent" if here else "line")
        title = Line("┏" if here else "┌", edge)
        title.add(f" {answer + 1} ", p.style("accent" if here else "dim", bold=here))
        title.add(f"{glyph} {word} ", p.style(colour))
        if r.graded is not None:
            title.add(f"{r.graded.length[row]} tok ", p.style("dim"))
        title.add(("━" if here else "─") * max(0, width - title.width - 1), edge)
        out = [title.add("┓" if here else "┐", edge)]
        facts = self._facts(r, row, width - 4)
        facts += self._text(row, width - 4, max(0, tall - 2 - len(facts)))
        side = "┃" if here else "│"
        for line in facts[: tall - 2]:
            out.append(Line(side, edge).add(" ").join(line).to(width - 1).add(side, edge))
        while len(out) < tall - 1:
            out.append(Line(side, edge).to(width - 1).add(side, edge))
        foot = ("┗" + "━" * (width - 2) + "┛") if here else ("└" + "─" * (width - 2) + "┘")
        out.append(Line(foot, edge))
        for line in out:
            line.whole(("answer", answer), width)
        return out

    def _facts(self, r: RolloutView, row: int, width: int) -> list[Line]:
        """Reward with its parts, advantage, length."""
        p, g = self.desk.palette, r.graded
        line = Line()
        if g is None:
            return [Line(f"{len(r.text[row])} characters so far", p.style("dim"))]
        line.add(f"reward {fixed(g.reward[row])}", p.style("text", bold=True))
        advantage = r.advantage(row)
        if advantage is None:
            line.add(f"  A {MISSING}", p.style("faint"))
        else:
            sign = "·" if abs(advantage) < 0.005 else "▲" if advantage > 0 else "▼"
            hue = "dim" if sign == "·" or math.isnan(advantage) else ""
            hue = hue or ("plus" if advantage > 0 else "minus")
            line.add(f"  {sign}{signed(advantage)}", p.style(hue))
        out = [line]
        names = {name: visible(name) for name in g.parts[row]}
        if width < 40:
            names = {name: SHORT.get(name, clip(told, 6)) for name, told in names.items()}
        told = " + ".join(f"{names[name]} {fixed(value)}" for name, value in g.parts[row].items())
        if told:
            out.append(Line(clip(told, width), p.style("dim")))
        return [_cut(x, width) for x in out]

    def _text(self, row: int, width: int, height: int) -> list[Line]:
        """Some rows of the answer, from where the texts are scrolled to."""
        g, p = self.sheet.group, self.desk.palette
        r = g.rollout
        text = r.text[row]
        if not text:
            return [Line("(empty answer)", p.style("faint"))]
        # no more of it than can be in sight
        text = text[: max(400, (g.scrolled + height + 1) * width * 2)]
        growing = r.graded is None and row not in r.ended
        if growing and not g.scrolled:
            text = text[-width * height :]
        same = shared(text, r.text[g.row]) if g.apart and row != g.row else 0
        taken = r.graded.answer[row] if r.graded else None
        a, b = graded_span(r.text[row], taken) or (len(text), len(text))
        faint, usual = p.style("faint"), p.style("text")
        graded = p.style("good", bold=True, underline=True)
        runs: list[Run] = []
        cuts = sorted({0, min(same, len(text)), min(a, len(text)), min(b, len(text)), len(text)})
        for begin, end in pairwise(cuts):
            style = graded if a <= begin < b else faint if begin < same else usual
            runs.append((visible(text[begin:end], newline="⏎\n"), style))
        rows = wrapped(runs, width)
        rows = rows[-height:] if growing and not g.scrolled else rows[g.scrolled :]
        if not rows:
            return [Line("(ends above)", p.style("faint"))]
        if len(rows) > height > 0:
            rows = [*rows[: height - 1], Line("⋯", p.style("accent"))]
        return rows


def _cut(line: Line, width: int) -> Line:
    if line.width <= width:
        return line
    return Line(clip(line.plain, width), line.segments[0].style)
