"""The boxes of the credit trace: the table of tokens with a plot and the recurrence in numbers, and
the verdict on the critic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.style import Style

from grpolab.tui import algorithm_cards, quantities
from grpolab.tui.credit_trace.model import Trace, Verdict
from grpolab.tui.formulas import explain_view
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.text import Line, clip, directed, fixed, number, signed, wrap
from grpolab.tui.widgets.token_rows import shown

if TYPE_CHECKING:
    from grpolab.tui.credit_trace.screen import TraceScreen

Column = tuple[str, Sequence[float], str, str, int]
"""Title, values, format (`plain`, `signed`, `zero`: a dot for 0, `tiny`), hue, width in cells."""


class TraceTable(Box["TraceScreen"]):
    title = "Credit"

    def info(self) -> tuple[str, str]:
        found = self.overlay.found()
        if found is None:
            return "", ""
        r, row, t = found
        size = max(r.group_size, 1)
        where = f"step {r.step} · prompt {row // size + 1} · answer {row % size + 1}"
        lam = f"γ {t.gamma:.4g} · λ {t.lam:.4g}"
        if t.lam_critic != t.lam:
            lam += f" · λ of R {t.lam_critic:.4g}"
        return f"{r.algorithm.upper()} · {where}", lam if t.critic else ""

    def content(self, width: int, height: int) -> list[Line]:
        note = quantities.lines(self.context, self.context.palette, width, 1 if height < 14 else 2)
        return note + self._content(width, height - len(note), bool(note))

    def _content(self, width: int, height: int, noted: bool) -> list[Line]:
        overlay: TraceScreen = self.overlay
        p, found = self.context.palette, overlay.found()
        if found is None and noted:
            return []
        if found is None:
            r = overlay.rollout
            told = "credit appears when a step is finished and its tokens are recorded"
            if r is not None:
                told = f"the settings of step {r.step} are unknown, so credit cannot be computed"
            return [Line(), *(Line(row, p.style("faint")) for row in wrap("  " + told, width))]
        r, row, t = found
        assert r.tokens is not None
        pieces = r.tokens.pieces[row]
        at = min(self.context.view.token, len(t.advantage) - 1)
        columns = self._columns(t)
        below = self._recurrence(t, at, width) if height >= 9 else []
        used = 4 + 9 + sum(c[-1] for c in columns)
        picture = width - used - 2
        out = [self._head(t, columns, picture)]
        size = max(r.group_size, 1)
        group = [r.graded.reward[i] for i in r.rows(row // size)] if r.graded else []
        mean = sum(group) / len(group) if group else math.nan
        for i in window(len(t.advantage), at, height - 1 - len(below)):
            line = Line().cell(str(i + 1), 3, p.style("faint"), right=True).add(" ")
            piece = shown(pieces[i]) if i < len(pieces) else ""
            line.cell(clip(piece, 8), 9, p.style("text", bold=i == at))
            for _, values, form, hue, wide in columns:
                x = values[i] if i < len(values) else math.nan
                line.cell(_told(x, form), wide, self._style(x, hue), right=True)
            if picture >= 12:
                line.add("  ").join(self._picture(t, i, mean, picture))
            line.whole(("token", i), width)
            out.append(line.on(p.style("", "raised")) if i == at else line)
        while len(out) < height - len(below):
            out.append(Line())
        return [*out, *below]

    def _columns(self, t: Trace) -> list[Column]:
        out: list[Column] = []

        def add(title: str, values: Sequence[float], form: str, hue: str) -> None:
            most = max((abs(x) for x in values if math.isfinite(x)), default=0.0)
            wide = 9 if form == "tiny" else 6 + (most >= 9.995) + (most >= 99.995)
            out.append((title, values, form, hue, wide))

        if t.value:
            add(t.baseline, t.value, "plain", "text")
        add("r", t.reward, "zero", "sign")
        if any(t.penalty):
            add("−β·KL", [-x for x in t.penalty], "tiny", "dim")
        if t.critic:
            add("δ", t.delta, "signed", "sign")
            add("Â", t.gae, "signed", "sign")
        if not t.critic or t.scaled:
            add("used" if t.critic else "Â", t.advantage, "signed", "sign")
        add("R", t.returns, "plain", "text")
        return out

    def _head(self, t: Trace, columns: list[Column], picture: int) -> Line:
        p = self.context.palette
        line = Line().cell("", 4).cell("token", 9, p.style("dim"))
        for title, *_, wide in columns:
            line.cell(title, wide, p.style("dim"), right=True)
        if picture >= 12:
            line.add("  ")
            left = _half(picture)
            critic = "● V  " if t.critic else ""
            legends = (f"{critic}┊ m  ◇ outcome", f"{critic}┊ m  ◇ end", f"{critic}┊m ◇end")
            fits = next((x for x in legends if len(x) <= left), "")
            line.cell(fits, left + 1, p.style("faint"))
            line.add("− Â +" if left < picture else "", p.style("faint"))
        return line

    def _style(self, x: float, hue: str) -> Style:
        p = self.context.palette
        if not math.isfinite(x):
            return p.style("warn")
        if hue != "sign":
            return p.style(hue)
        return p.style("faint" if abs(x) < 0.005 else "plus" if x > 0 else "minus")

    def _picture(self, t: Trace, i: int, mean: float, width: int) -> Line:
        """Prediction, mean and outcome on a line, and the advantage as a bar."""
        p = self.context.palette
        left = _half(width)
        seen = [*t.outcome, *(t.value if t.critic else []), mean]
        low, high = _ends(seen)
        marks = [(mean, "┊", "warn"), (t.outcome[i], "◇", "good")]
        if t.critic:
            marks.append((t.value[i], "●", "accent"))
        line = _track(p, marks, low, high, left)
        if left == width:
            return line
        line.add(" ")
        used = t.advantage if not t.critic or t.scaled else t.gae
        return line.join(_bar(p, used[i], max((abs(x) for x in used if math.isfinite(x)),
                                              default=0.0), width - left - 1))  # fmt: skip

    def _recurrence(self, t: Trace, at: int, width: int) -> list[Line]:
        """The recurrence with the selected token's numbers."""
        p = self.context.palette
        out = [Line("─" * width, p.style("line"))]
        last = at + 1 >= len(t.advantage)
        if not t.critic:
            end = f"{t.baseline} = {number(t.value[at], 3)}" if t.value else ""
            told = f"no critic: the baseline is {end}" if end else "no critic, and no baseline"
            told += f"; Â = {directed(t.advantage[at])} for this token"
            return [*out, *(Line(row, p.style("text")) for row in wrap(told, width))]
        after = "0 (end of the answer)" if last else _fine(t.value[at + 1])
        delta = (
            f"δ = r + γ·V′ − V = {_fine(t.reward[at])} + {t.gamma:.4g}·{after} − "
            f"{_fine(t.value[at])} = {_fine(t.delta[at], '+')}"
        )
        rest = "0" if last else _fine(t.gae[at + 1], "+")
        gae = (
            f"Â = δ + γλ·Â′ = {_fine(t.delta[at], '+')} + {t.gamma * t.lam:.3g}·{rest} = "
            f"{_fine(t.gae[at], '+')}"
        )
        own = "Â" if t.lam_critic == t.lam else f"Â (λ {t.lam_critic:.4g})"
        told = f"R = {own} + V = {_fine(t.returns[at] - t.value[at], '+')} + "
        told += f"{_fine(t.value[at])} = {_fine(t.returns[at])}"
        if t.scaled:
            told += f"; whitened, Â is {_fine(t.advantage[at], '+')}"
        return out + [
            Line(row, p.style("text")) for x in (delta, gae, told) for row in wrap(x, width)
        ]


def _fine(x: float, sign: str = "") -> str:
    """Three decimals, without −0.000."""
    if not math.isfinite(x):
        return number(x)
    return f"{round(x, 3) + 0.0:{sign}.3f}".replace("-", "−")


def _told(x: float, form: str) -> str:
    if not math.isfinite(x):
        return number(x)
    if form in ("zero", "tiny") and x == 0:
        return "·"
    if form == "tiny":
        return number(x, 2)
    return fixed(x) if form == "plain" else signed(round(x, 2) + 0.0).replace("+0.00", "0.00")


def _half(width: int) -> int:
    """Cells of the predictions; the rest is for the bar, if there is room for both."""
    return width * 3 // 5 if width >= 24 else width


def _ends(seen: Sequence[float]) -> tuple[float, float]:
    finite = [x for x in seen if math.isfinite(x)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _track(
    p: Palette, marks: Sequence[tuple[float, str, str]], low: float, high: float, width: int
) -> Line:
    """Glyphs at their places between low and high; later ones overwrite earlier ones."""
    cells: dict[int, tuple[str, str]] = {}
    for value, glyph, hue in marks:
        if math.isfinite(value):
            share = min(1.0, max(0.0, (value - low) / (high - low)))
            cells[round(share * (width - 1))] = (glyph, hue)
    line = Line()
    for x in range(width):
        glyph, hue = cells.get(x, ("·", "line"))
        line.add(glyph, p.style(hue))
    return line


def _bar(p: Palette, value: float, limit: float, width: int) -> Line:
    """A bar from the middle: right for a positive value, left for a negative one."""
    half = max(1, (width - 1) // 2)
    if not math.isfinite(value):
        return Line("?".center(2 * half + 1), p.style("warn"))
    n = min(half, math.ceil(abs(value) / limit * half - 0.3)) if limit > 0 else 0
    line = Line(" " * half if value >= 0 else " " * (half - n))
    if value < 0 and n:
        line.add("◀" + "━" * (n - 1), p.style("minus"))
    line.add("│", p.style("line"))
    return line.add("━" * (n - 1) + "▶", p.style("plus")) if value > 0 and n else line


HEAD = {
    "beats": ("✓ The critic beats the group's mean", "good"),
    "loses to": ("✗ The critic is worse than the group's mean", "bad"),
    "matches": ("≈ No significant difference between critic and group's mean", "warn"),
}
WHY = {
    "beats": "Its prediction, made before the first token, is closer to the outcome than the mean "
    "of the other answers to the same prompt. It is worth its memory.",
    "loses to": "The mean of the other answers to the same prompt, which needs no second model, "
    "predicts the outcome better than the critic. An untrained critic is expected to lose: let it "
    "warm up (critic_warmup, value_pretraining), or use an algorithm without one.",
    "matches": "The difference is within two standard errors of 0: this rollout is too small to "
    "tell them apart.",
}


class TraceVerdict(Box["TraceScreen"]):
    title = "Does the critic beat the group's mean?"

    def content(self, width: int, height: int) -> list[Line]:
        overlay: TraceScreen = self.overlay
        p, v = self.context.palette, overlay.verdict()
        if v is None:
            what = "available when a step is finished" if overlay.found() is None else "computing"
            return [Line(what, p.style("faint"))]
        return self._critic(v, width) if v.critic else self._none(v, width)

    def _words(self, text: str, width: int, colour: str = "text") -> list[Line]:
        return [Line(row, self.context.palette.style(colour)) for row in wrap(text, width)]

    def _pair(self, name: str, value: str, width: int, note: str = "") -> list[Line]:
        p = self.context.palette
        wide = min(26, max(14, width - 10))
        line = Line("  ").cell(name, wide, p.style("dim")).cell(value, 8, p.style("text"), True)
        if note and line.width + 2 + len(note) <= width:
            line.add("  " + note, p.style("faint"))
        return [line]

    def _critic(self, v: Verdict, width: int) -> list[Line]:
        p = self.context.palette
        head, hue = HEAD.get(v.word, ("? Nothing to compare the critic with", "warn"))
        out = [Line(row, p.style(hue, bold=True)) for row in wrap(head, width)]
        spread = f" ± {number(v.error, 2)}" if math.isfinite(v.error) else ""
        gap = f"squared error, critic − mean: {directed(v.gap)}{spread}, over "
        out += self._words(f"{gap}{v.answers} answers in {v.groups} groups", width, "dim")
        out += self._side(v, width) if width >= 70 else self._down(v, width)
        if v.word:
            out += self._words(WHY[v.word], width)
        if not math.isfinite(v.error) and v.word:
            out += self._words("With a single group, the difference may be chance.", width, "warn")
        return out

    def _down(self, v: Verdict, width: int) -> list[Line]:
        """The numbers below one another."""
        out = [self._head("mean squared error before token 1", width)]
        out += self._pair("the critic's V", number(v.first_critic), width)
        out += self._pair("mean of the others", number(v.first_others), width, "of the group")
        note = "includes the answer"
        out += self._pair("mean of the group", number(v.first_mean), width, note)
        out += [self._head("the same before every token", width)]
        out += self._pair("the critic's V", number(v.all_critic), width)
        out += self._pair("mean of the others", number(v.all_others), width)
        out += [self._head("explained variance", width)]
        out += self._pair("of its targets R", number(v.explained), width, "1 perfect")
        out += self._pair("of the outcome", number(v.explained_outcome), width)
        return [*out, Line()]

    def _side(self, v: Verdict, width: int) -> list[Line]:
        """The same in rows, for a wide and low box."""
        p = self.context.palette
        rows = (
            ("error before token 1", ("V", v.first_critic), ("others' mean", v.first_others),
             ("whole group's", v.first_mean)),
            ("before every token", ("V", v.all_critic), ("others' mean", v.all_others)),
            ("explained variance", ("of R", v.explained), ("of the outcome",
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
        p, found = self.context.palette, self.overlay.found()
        r = self.overlay.rollout
        name = r.algorithm if r is not None else ""
        out = [Line(row, p.style("text", bold=True))
               for row in wrap(f"{name.upper()} has no critic", width)]  # fmt: skip
        if found is not None:
            _, _, t = found
            what = {"m": "the group's mean m", "b": "b of the formula"}.get(t.baseline)
            baseline = "There is no baseline: an answer is judged by its reward alone"
            if what is not None:
                baseline = f"The baseline is {what}"
                baseline += f", {number(t.value[0])} for this answer" if t.value else ""
            out += self._words(baseline + ".", width)
            if t.value:
                end = sum(t.reward)
                out += self._words(
                    f"r − {t.baseline} = {number(end)} − {number(t.value[0])} = "
                    f"{directed(end - t.value[0])}; the objective used Â = "
                    f"{directed(t.advantage[0])}",
                    width,
                )  # fmt: skip
        card = algorithm_cards.cards().get(name)
        if card is not None:
            out += [Line(), *explain_view.formula(p, card.formula, width)]
        out += [self._head("mean squared error in predicting the reward", width)]
        out += self._pair("mean of the others", number(v.first_others), width, "of the group")
        note = "includes the answer"
        out += self._pair("mean of the group", number(v.first_mean), width, note)
        last = "A critic would have to be better than the first of these to be worth its memory."
        if found is not None and len(set(found[2].advantage)) == 1:
            last += " Here every token of an answer gets the same credit."
        out += self._words(last, width, "dim")
        return out

    def _head(self, text: str, width: int) -> Line:
        p = self.context.palette
        line = Line("── ", p.style("line")).add(
            clip(text, max(0, width - 4)) + " ", p.style("faint")
        )
        return line.add("─" * max(0, width - line.width), p.style("line"))
