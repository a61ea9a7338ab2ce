"""The boxes of the group screens: one card per answer, and the text and facts of one answer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from grpolab.tui.group.model import (
    ORDERS,
    exact_rows,
    graded_span,
    mark,
    rendered_rows,
    shared,
)
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import (
    MISSING,
    Line,
    Run,
    clip,
    fixed,
    flow,
    number,
    signed,
    visible,
    wrapped,
)

if TYPE_CHECKING:
    from grpolab.record.lane_state import RolloutView
    from grpolab.tui.group.screen import GroupScreen, Reader

NARROWEST = 26
"""Least width of a card, in cells."""
LOWEST = 7
"""Least height of a card, in rows."""
SHORT = {
    "accuracy": "acc",
    "format": "fmt",
    "language": "lang",
    "process": "proc",
    "length": "len",
}
"""Names of reward parts, for narrow places."""


class GroupCards(Box["GroupScreen"]):
    overlay: GroupScreen
    title = "Group"

    def info(self) -> tuple[str, str]:
        g = self.overlay.group
        r = g.rollout
        where = f"step {r.step} · {r.algorithm.upper()} · prompt {g.prompt + 1}/{len(r.prompts)}"
        order = g.order if g.order == ORDERS[0] else f"by {g.order}"
        order += " ▼" if g.down else " ▲"
        at = g.sorted().index(g.answer) + 1 if g.answer < r.group_size else 0
        return where, f"{order} · {at}/{r.group_size}"

    def content(self, width: int, height: int) -> list[Line]:
        g = self.overlay.group
        r, p = g.rollout, self.context.palette
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
        """Scrolls the texts of all cards together."""
        self.overlay.scroll_texts(by)

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """Cards per row, and the height of a card."""
        size = max(1, self.overlay.group.rollout.group_size)
        across = max(1, min(size, (width + 1) // (NARROWEST + 1)))
        lines = -(-size // across)
        across = -(-size // lines)  # the last row as full as the others
        tall = max(LOWEST, height // min(lines, max(1, height // LOWEST)))
        needed = 5 + self._longest((width - across + 1) // across - 4)
        return across, max(LOWEST, min(tall, height, needed))

    def _longest(self, width: int) -> int:
        """Estimated rows of the longest text."""
        g = self.overlay.group
        texts = (g.rollout.text[i][:4000] for i in g.rows)
        rows = (t.count("\n") + -(-len(t) * 4 // (3 * max(1, width))) for t in texts)
        return max(rows, default=0)

    def _head(self, width: int) -> list[Line]:
        """The prompt, and statistics of the group."""
        g, p = self.overlay.group, self.context.palette
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
                long = "  zero variance: advantage 0 under GRPO and RLOO"
                short = "  zero variance"
                fits = line.width + len(long) <= width
                line.add(clip(long if fits else short, max(0, width - line.width)), p.style("warn"))
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
        g, p = self.overlay.group, self.context.palette
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
        p, g = self.context.palette, r.graded
        line = Line()
        if g is None:
            return [Line(f"{len(r.text[row])} characters so far", p.style("dim"))]
        line.add(f"reward {fixed(g.reward[row])}", p.style("text", bold=True))
        advantage = r.advantage(row)
        if advantage is None:
            line.add(f"  A {MISSING}", p.style("faint"))
        else:
            glyph, hue = ("·", "dim") if abs(advantage) < 0.005 else sign(advantage)
            line.add(f"  {glyph}{signed(advantage)}", p.style(hue))
        out = [line]
        names = {name: visible(name) for name in g.parts[row]}
        if width < 40:
            names = {name: SHORT.get(name, clip(told, 6)) for name, told in names.items()}
        told = " + ".join(f"{names[name]} {fixed(value)}" for name, value in g.parts[row].items())
        if told:
            out.append(Line(clip(told, width), p.style("dim")))
        return [_cut(x, width) for x in out]

    def _text(self, row: int, width: int, height: int) -> list[Line]:
        """The rows of the answer in sight, from the scroll position on."""
        g, p = self.overlay.group, self.context.palette
        r = g.rollout
        text = r.text[row]
        if not text:
            return [Line("(empty answer)", p.style("faint"))]
        # lay out no more than can be in sight
        text = text[: max(400, (g.scrolled + height + 1) * width * 2)]
        growing = r.graded is None and row not in r.ended
        if growing and not g.scrolled:
            text = text[-width * height :]
        same = shared(text, r.text[g.row]) if g.apart and row != g.row else 0
        parsed = r.graded.answer[row] if r.graded else None
        a, b = graded_span(r.text[row], parsed) or (len(text), len(text))
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


class ReaderText(Box["Reader"]):
    title = "Answer"
    period = 0.2

    def __init__(self, overlay: Reader, *, id: str) -> None:
        super().__init__(overlay, id=id)
        self._cache: tuple[object, list[Line]] = ((), [])

    def info(self) -> tuple[str, str]:
        g = self.overlay.group
        text = g.rollout.text[g.row] if g.rollout.text else ""
        how = "rendered" if g.rendered else "exact string"
        return f"{g.answer + 1} of {g.rollout.group_size} · {how}", f"{len(text):,} characters"

    def content(self, width: int, height: int) -> list[Line]:
        g, p = self.overlay.group, self.context.palette
        r = g.rollout
        text = r.text[g.row] if g.row < len(r.text) else ""
        key = (id(r), g.row, len(text), r.graded is None, g.rendered, width, p.name)
        if self._cache[0] != key:
            answer = r.graded.answer[g.row] if r.graded else None
            span = graded_span(text, answer)
            how = rendered_rows if g.rendered else exact_rows
            rows = how(text, span, width, p) if text else [Line("  (empty answer)", p.style("dim"))]
            self._cache = (key, rows)
        return self._cache[1]

    def scroll(self, by: int) -> None:
        self.overlay.group.top = max(0, self.overlay.group.top + by)
        self.paint()

    def lines(self, width: int, height: int) -> list[Line]:
        self.top = self.overlay.group.top
        out = super().lines(width, height)
        self.overlay.group.top = self.top
        return out


class ReaderFacts(Box["Reader"]):
    title = "Grading"

    def info(self) -> tuple[str, str]:
        g = self.overlay.group
        r = g.rollout
        level = visible(r.difficulty[g.prompt]) if g.prompt < len(r.difficulty) else ""
        where = f"prompt {g.prompt + 1}/{len(r.prompts)} · step {r.step} · {r.algorithm.upper()}"
        return where + (f" · {level}" if level else ""), visible(g.lane)

    def content(self, width: int, height: int) -> list[Line]:
        g, p = self.overlay.group, self.context.palette
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
        """The answers of the group in the chosen order, if there is room for some."""
        g, p = self.overlay.group, self.context.palette
        r = g.rollout
        if height < 5:
            return []
        order = g.sorted()
        told = g.order if g.order == ORDERS[0] else f"by {g.order}"
        out = [Line(), Line(f"group, {told}", p.style("dim"))]
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
        g, p = self.overlay.group, self.context.palette
        glyph, colour, word = mark(g.rollout, g.row)
        return [Line(f"{glyph} {word}; not graded yet", p.style(colour))]

    def _graded(self, width: int) -> list[Line]:
        g, p = self.overlay.group, self.context.palette
        r, row = g.rollout, g.row
        graded = r.graded
        assert graded is not None
        glyph, colour, word = mark(r, row)
        verdict = Line(f"{glyph} {word}", p.style(colour, bold=True))
        if not graded.finished[row]:
            verdict.add(f" at {r.max_tokens} tokens", p.style(colour))
        answer = graded.answer[row]
        if answer is None:
            parsed = Line("no answer could be parsed", p.style("warn"))
        else:
            parsed = Line("parsed answer: ", p.style("dim"))
            parsed.add(clip(visible(answer), max(8, width - parsed.width)) or "(empty)",
                       p.style("good", bold=True, underline=True))  # fmt: skip
        pieces = [verdict, Line(f"{graded.length[row]} tokens", p.style("dim")), parsed]
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
            out += wrapped([(f"scores of its steps  {told}", p.style("dim"))], width)
        return out

    def _advantage(self, width: int) -> list[Line]:
        g, p = self.overlay.group, self.context.palette
        advantage = g.rollout.advantage(g.row)
        line = Line("advantage ", p.style("dim"))
        if advantage is None:
            line.add(MISSING, p.style("faint"))
        else:
            glyph, hue = sign(advantage)
            told = f"{glyph}{signed(advantage)}"
            told += " (mean over its tokens)" if width >= 44 else ""
            line.add(told, p.style(hue))
        stats = g.stats()
        group = Line()
        if stats is not None:
            group.add(f"group: mean {fixed(stats[0])} ± {fixed(stats[1])}", p.style("dim"))
        return flow([line, group], width, "   ")
