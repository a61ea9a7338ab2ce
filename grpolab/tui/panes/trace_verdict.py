"""The verdict on the critic, in words, with the numbers behind it; without one, what stands in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.tui import cards
from grpolab.tui.numbers import directed, number
from grpolab.tui.panes import told
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, wrap
from grpolab.tui.verdict import Verdict

if TYPE_CHECKING:
    from grpolab.tui.screens.trace import TraceScreen

HEAD = {
    "beats": ("✓ The critic beats the group's mean", "good"),
    "loses to": ("✗ The critic is worse than the group's mean", "bad"),
    "matches": ("≈ The critic is no better and no worse than the group's mean", "warn"),
}
WHY = {
    "beats": "Its forecast, made before the first token, is nearer to how the answers end than "
    "the mean of the other answers to the same prompt. It is worth its memory.",
    "loses to": "The mean of the other answers to the same prompt, which costs no second model, "
    "foretells an answer's end better than the critic. A cold critic is expected to lose: let it "
    "warm up (critic_warmup, value_pretraining), or take an algorithm without one.",
    "matches": "The difference lies within two standard errors of 0: this rollout is too small to "
    "tell them apart.",
}


class TraceVerdict(Part["TraceScreen"]):
    title = "Does the critic beat the group's mean?"

    def content(self, width: int, height: int) -> list[Line]:
        sheet: TraceScreen = self.sheet
        p, v = self.desk.palette, sheet.verdict()
        if v is None:
            what = "known when a step is finished" if sheet.found() is None else "reckoning…"
            return [Line(what, p.style("faint"))]
        return self._critic(v, width) if v.critic else self._none(v, width)

    def _words(self, text: str, width: int, colour: str = "text") -> list[Line]:
        return [Line(row, self.desk.palette.style(colour)) for row in wrap(text, width)]

    def _pair(self, name: str, value: str, width: int, note: str = "") -> list[Line]:
        p = self.desk.palette
        wide = min(26, max(14, width - 10))
        line = Line("  ").cell(name, wide, p.style("dim")).cell(value, 8, p.style("text"), True)
        if note and line.width + 2 + len(note) <= width:
            line.add("  " + note, p.style("faint"))
        return [line]

    def _critic(self, v: Verdict, width: int) -> list[Line]:
        p = self.desk.palette
        head, hue = HEAD.get(v.word, ("? There is nothing to compare the critic with", "warn"))
        out = [Line(row, p.style(hue, bold=True)) for row in wrap(head, width)]
        spread = f" ± {number(v.error, 2)}" if math.isfinite(v.error) else ""
        gap = f"squared error of the critic − of the mean: {directed(v.gap)}{spread}, over "
        out += self._words(f"{gap}{v.answers} answers in {v.groups} groups", width, "dim")
        out += self._side(v, width) if width >= 70 else self._down(v, width)
        if v.word:
            out += self._words(WHY[v.word], width)
        if not math.isfinite(v.error) and v.word:
            out += self._words("With one group alone, chance cannot be told apart.", width, "warn")
        return out

    def _down(self, v: Verdict, width: int) -> list[Line]:
        """The numbers under one another."""
        out = [self._head("mean squared error before token 1", width)]
        out += self._pair("the critic's V", number(v.first_critic), width)
        out += self._pair("mean of the others", number(v.first_others), width, "of the group")
        note = "has the answer in it"
        out += self._pair("mean of the group", number(v.first_mean), width, note)
        out += [self._head("the same before every token", width)]
        out += self._pair("the critic's V", number(v.all_critic), width)
        out += self._pair("mean of the others", number(v.all_others), width)
        out += [self._head("explained variance", width)]
        out += self._pair("of its targets R", number(v.explained), width, "1 perfect")
        out += self._pair("of what really followed", number(v.explained_outcome), width)
        return [*out, Line()]

    def _side(self, v: Verdict, width: int) -> list[Line]:
        """The same beside one another, where the box is wide and low."""
        p = self.desk.palette
        rows = (
            ("error before token 1", ("V", v.first_critic), ("others' mean", v.first_others),
             ("whole group's", v.first_mean)),
            ("before every token", ("V", v.all_critic), ("others' mean", v.all_others)),
            ("explained variance", ("of R", v.explained), ("of what followed",
                                                            v.explained_outcome)),
        )  # fmt: skip
        out = []
        for name, *pairs in rows:
            line = Line().cell(name, 22, p.style("dim"))
            for what, value in pairs:
                line.add(f"{what} ", p.style("faint")).add(f"{number(value)}   ", p.style("text"))
            out.append(line)
        return out

    def _none(self, v: Verdict, width: int) -> list[Line]:
        p, found = self.desk.palette, self.sheet.found()
        r = self.sheet.rollout
        name = r.algorithm if r is not None else ""
        out = [Line(row, p.style("text", bold=True))
               for row in wrap(f"{name.upper()} has no critic", width)]  # fmt: skip
        if found is not None:
            _, _, t = found
            what = {"m": "the group's mean m", "b": "the baseline b"}.get(t.stands)
            stands = "nothing stands in for V: each answer is judged by its reward alone"
            if what is not None:
                stands = f"{what} stands in for V"
                stands += f": {number(t.value[0])} for this answer" if t.value else ""
            out += self._words(stands + ".", width)
            if t.value:
                end = sum(t.reward)
                out += self._words(
                    f"r − {t.stands} = {number(end)} − {number(t.value[0])} = "
                    f"{directed(end - t.value[0])}; the objective used Â = "
                    f"{directed(t.advantage[0])}",
                    width,
                )  # fmt: skip
        card = cards.cards().get(name)
        if card is not None:
            out += [Line(), *told.formula(p, card.formula, width)]
        out += [self._head("mean squared error of forecasts of the reward", width)]
        out += self._pair("mean of the others", number(v.first_others), width, "of the group")
        note = "knows the answer itself"
        out += self._pair("mean of the group", number(v.first_mean), width, note)
        last = "A critic would have to come nearer than the first of these to be worth its memory."
        if found is not None and len(set(found[2].advantage)) == 1:
            last += " Here every token of an answer gets the same credit: none is told apart."
        out += self._words(last, width, "dim")
        return out

    def _head(self, text: str, width: int) -> Line:
        p = self.desk.palette
        line = Line("── ", p.style("line")).add(text[: max(0, width - 4)] + " ", p.style("faint"))
        return line.add("─" * max(0, width - line.width), p.style("line"))
