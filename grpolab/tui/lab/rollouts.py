"""The prompts of a step and the group of answers to the selected one."""

from __future__ import annotations

import math
import re

from grpolab.record.lane_state import RolloutView
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.text import MISSING, Line, clip, fixed, signed, tail, visible, wrap

_TAGS = re.compile(r"(</?(?:think|answer)>)")
SHORT = {
    "accuracy": "acc",
    "format": "fmt",
    "language": "lang",
    "process": "proc",
    "length": "len",
}


class Rollouts(Pane):
    index = 1
    title = "Rollouts"
    watches = frozenset(
        {"rollout", "sampled", "graded", "tokens", "lane", "switch", "resumed", "select"}
    )
    period = 0.18
    explains = (
        "The prompts of one step, and the group of answers to the selected prompt.\n"
        "● right   ○ wrong   ✂ truncated at the token limit   ◌ being sampled   ▪ finished, not "
        "graded yet\n"
        "mean: the group's mean reward. zero variance: all its rewards are equal; a method that "
        "compares the answers of a group (GRPO, RLOO) gets advantage 0 and no gradient from "
        "it.\n"
        "reward = the sum of its parts, shown beside it. advantage: how much better (▲) or "
        "worse (▼) than expected the answer did; the bar is its size within the group. tok: "
        "length in tokens.\n"
        "Enter shows the whole group side by side.\n"
        "Below: the exact text that was graded, and the answer that the grader parsed."
    )

    def info(self) -> tuple[str, str]:
        r = self.context.view.rollout(self.context.state)
        if r is None:
            return "", ""
        what = "graded" if r.graded else f"sampling {r.position}/{r.max_tokens}"
        held = " · VIEW HELD" if self.context.view.held else ""
        return (
            f"step {r.step} · {r.algorithm.upper()} · {what}{held}",
            f"{len(r.prompts)} × {r.group_size}",
        )

    def content(self, width: int, height: int) -> list[Line]:
        r = self.context.view.rollout(self.context.state)
        if r is None or not r.prompts or not r.group_size:
            return [Line(), Line("  no rollout yet", self.context.palette.style("faint"))]
        prompts, answers, detail = shares(height, len(r.prompts), r.group_size)
        row = self.context.view.row(r)
        at = row // r.group_size
        out = [self._prompt(r, i, i == at, width) for i in window(len(r.prompts), at, prompts)]
        if answers:
            out.append(self._head(r, width))
            most = self._most(r, at)
            first = at * r.group_size
            shown = window(r.group_size, row - first, answers)
            out += [self._answer(r, first + i, i, first + i == row, width, most) for i in shown]
        if detail > 1:
            out += self._detail(r, row, width, detail)
        return out

    def _prompt(self, r: RolloutView, i: int, here: bool, width: int) -> Line:
        p = self.context.palette
        hit = ("prompt", i)
        line = Line("▸ " if here else "  ", p.style("accent"))
        line.add(f"{i + 1:>2} ", p.style("dim"))
        dots = self._dots(r, i, max(8, width // 4))
        rewards = [r.graded.reward[k] for k in r.rows(i)] if r.graded else []
        mean = fixed(sum(rewards) / len(rewards)) if rewards else MISSING
        equal = bool(rewards) and max(rewards) == min(rewards)
        note = "zero variance" if equal and width >= 66 else "=" if equal else ""
        level = 7 if width >= 48 else 0
        room = width - line.width - dots.width - level - 7 - (15 if width >= 66 else 2)
        text = clip(visible(r.prompts[i]), max(4, min(room, 60)))
        line.cell(text, max(4, room), p.style("text", bold=here))
        difficulty = visible(r.difficulty[i]) if i < len(r.difficulty) else ""
        line.cell(difficulty, level, p.style("dim")).cell(mean, 5, p.style("text"), right=True).add(
            "  "
        )
        line.join(dots).add("  ").add(note, p.style("warn"))
        line.to(width).whole(hit, width)
        return line.on(p.style("", "raised")) if here else line

    def _dots(self, r: RolloutView, i: int, most: int) -> Line:
        """A group's outcome: one mark per answer, or a count per mark where there are too many."""
        p = self.context.palette
        marks = [self._mark(r, k) for k in r.rows(i)]
        line = Line()
        if len(marks) <= most:
            for glyph, colour in marks:
                line.add(glyph, p.style(colour))
            return line
        order = sorted(set(marks), key=lambda m: "●○✂▪◌".find(m[0]))
        for glyph, colour in order:
            share = marks.count((glyph, colour))
            line.add(f"{glyph}{share} ", p.style(colour))
        return line

    def _mark(self, r: RolloutView, row: int) -> tuple[str, str]:
        g = r.graded
        if g is None:
            return ("▪", "dim") if row in r.ended else ("◌", "faint")
        if not g.finished[row]:
            return "✂", "warn"
        return ("●", "good") if g.correct[row] else ("○", "bad")

    def _parts(self, r: RolloutView, width: int) -> list[str]:
        """Reward parts that have a column of their own."""
        if r.graded is None or width < 56:
            return []
        names = list(dict.fromkeys(name for part in r.graded.parts for name in part))
        return names[: max(0, (width - 44) // 5)]

    def _head(self, r: RolloutView, width: int) -> Line:
        p = self.context.palette
        faint = p.style("faint")
        line = Line("  # ", faint).cell("reward", 7, faint, right=True)
        for name in self._parts(r, width):
            line.cell(SHORT.get(name, clip(visible(name), 4)), 5, faint, right=True)
        line.cell("  advantage", 10 if width < 60 else 14, faint).cell("tok", 4, faint, right=True)
        line.add("  answer ", faint)
        return line.add("─" * max(0, width - line.width), p.style("line"))

    def _most(self, r: RolloutView, prompt: int) -> float:
        sizes = [
            abs(a) for k in r.rows(prompt) if (a := r.advantage(k)) is not None and math.isfinite(a)
        ]
        return max(sizes, default=0.0) or 1.0

    def _answer(
        self, r: RolloutView, row: int, i: int, here: bool, width: int, most: float
    ) -> Line:
        p = self.context.palette
        g = r.graded
        glyph, colour = self._mark(r, row)
        line = Line("▸" if here else " ", p.style("accent")).add(f"{i + 1:>2} ", p.style("dim"))
        line.add(f"{glyph} ", p.style(colour))
        line.cell(fixed(g.reward[row]) if g else MISSING, 5, p.style("text", bold=True), right=True)
        for name in self._parts(r, width):
            value = g.parts[row].get(name) if g else None
            line.cell(fixed(value), 5, p.style("dim"), right=True)
        advantage = r.advantage(row)
        line.add("  ")
        bar = 0 if width < 60 else 4
        if advantage is None:
            line.cell(MISSING, 8 + bar, p.style("faint"))
        else:
            sign = "·" if abs(advantage) < 0.005 else "▲" if advantage > 0 else "▼"
            style = p.style("dim" if sign == "·" else "plus" if advantage > 0 else "minus")
            line.cell(sign + signed(advantage), 7, style)
            share = min(1.0, abs(advantage) / most) if math.isfinite(advantage) else 1.0
            line.cell("▬" * round(share * bar), bar, style).add(" ")
        tokens = str(g.length[row]) if g else ""
        line.cell(tokens, 4, p.style("dim"), right=True).add("  ")
        line.join(self._text(r, row, width - line.width))
        line.to(width).whole(("answer", i), width)
        return line.on(p.style("", "raised")) if here else line

    def _text(self, r: RolloutView, row: int, width: int) -> Line:
        """The answer on one row: its end while it is sampled, its beginning once it is graded."""
        p = self.context.palette
        if r.graded is None and row not in r.ended:
            shown = tail(visible(r.text[row][-width - 40 :]), max(1, width - 1))
            return self._paint_text(shown)[0].add("▌", p.style("accent"))
        if not r.text[row]:
            return Line("(empty)", p.style("faint"))
        return self._paint_text(clip(visible(r.text[row][: width * 2 + 40]), width))[0]

    def _paint_text(self, text: str, colour: str = "text") -> tuple[Line, str]:
        """Text with faint tags, and thoughts dimmer than the answer. Begins in `colour`; also gives
        the color in which the next row begins.
        """
        p = self.context.palette
        line = Line()
        for part in _TAGS.split(text):
            if _TAGS.fullmatch(part):
                line.add(part, p.style("faint"))
                colour = {"<think>": "dim", "<answer>": "text"}.get(part, "text")
            else:
                line.add(part, p.style(colour, bold=colour == "text" and part != text))
        return line, colour

    def _detail(self, r: RolloutView, row: int, width: int, height: int) -> list[Line]:
        p = self.context.palette
        g = r.graded
        i = row % r.group_size
        line = Line("── ", p.style("line")).add(f"answer {i + 1} ", p.style("text"))
        if g is None:
            line.add(
                "being sampled " if row not in r.ended else "finished, not graded yet ",
                p.style("dim"),
            )
        else:
            ok = g.correct[row]
            parsed = g.answer[row]
            line.add("✓ right " if ok else "✗ wrong ", p.style("good" if ok else "bad"))
            told = "no answer parsed" if parsed is None else f"parsed {clip(visible(parsed), 24)}"
            facts = [told]
            facts.append(
                f"{g.length[row]} tokens"
                + ("" if g.finished[row] else f", ✂ truncated at {r.max_tokens}")
            )
            facts += [
                f"{clip(visible(name), 12)} {fixed(value)}" for name, value in g.parts[row].items()
            ]
            for fact in facts:
                if line.width + len(fact) + 3 < width:
                    line.add(f"· {fact} ", p.style("dim"))
        line.add("─" * max(0, width - line.width), p.style("line"))
        text = r.text[row][: width * height * 4]
        rows = wrap(visible(text, newline="⏎\n"), width)
        if len(rows) > height - 1:  # too little room: one line after another
            rows = wrap(visible(text, newline="⏎ "), width)
        if len(rows) > height - 1:
            rows = rows[: height - 1]
            rows[-1] = clip(rows[-1] + " ", width - 1, "") + "…"
        out, colour = [line], "text"
        for part in rows:
            painted, colour = self._paint_text(part, colour)
            out.append(painted)
        return out


def shares(height: int, prompts: int, answers: int) -> tuple[int, int, int]:
    """Lines for prompts, answers and the selected answer's text, of `height` with one for the
    column heads.
    """
    detail = 3 if height >= 14 else 0
    room = max(0, height - 1 - detail)
    a = min(answers, max(3, room - min(prompts, max(3, room // 3))))
    a = min(a, max(0, room - 1))
    n = max(1, min(prompts, room - a))
    return n, a, height - 1 - n - a if height - 1 - n - a > 1 else 0


def window(total: int, at: int, room: int) -> range:
    """The `room` of `total` rows around row `at` that are shown."""
    if total <= room:
        return range(total)
    first = max(0, min(total - room, at - room // 2))
    return range(first, first + room)
