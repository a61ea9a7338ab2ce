"""The table of the credit trace: a row for each token, numbers and a picture, and under it the
recurrence with the selected token's numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.style import Style

from grpolab.tui import recorded
from grpolab.tui.numbers import directed, fixed, number, signed
from grpolab.tui.palette import Palette
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, wrap
from grpolab.tui.token_rows import shown
from grpolab.tui.trace import Trace

if TYPE_CHECKING:
    from grpolab.tui.screens.trace import TraceScreen

Column = tuple[str, Sequence[float], str, str, int]
"""Title, numbers, form (`plain`, `signed`, `zero`: a dot for none, `tiny`), hue, cells."""


class TraceTable(Part["TraceScreen"]):
    title = "Credit"

    def info(self) -> tuple[str, str]:
        found = self.sheet.found()
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
        note = recorded.lines(self.desk, self.desk.palette, width, 1 if height < 14 else 2)
        return note + self._content(width, height - len(note), bool(note))

    def _content(self, width: int, height: int, noted: bool) -> list[Line]:
        sheet: TraceScreen = self.sheet
        p, found = self.desk.palette, sheet.found()
        if found is None and noted:
            return []
        if found is None:
            r = sheet.rollout
            told = "the credit appears when a step is finished and its tokens are recorded"
            if r is not None:
                told = f"the settings of step {r.step} are not known here, so it cannot be told"
            return [Line(), *(Line(row, p.style("faint")) for row in wrap("  " + told, width))]
        r, row, t = found
        assert r.tokens is not None
        pieces = r.tokens.pieces[row]
        at = min(self.desk.view.token, len(t.advantage) - 1)
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
            add(t.stands, t.value, "plain", "text")
        add("r", t.reward, "zero", "sign")
        if any(t.price):
            add("−β·KL", [-x for x in t.price], "tiny", "dim")
        if t.critic:
            add("δ", t.delta, "signed", "sign")
            add("Â", t.gae, "signed", "sign")
        if not t.critic or t.scaled:
            add("used" if t.critic else "Â", t.advantage, "signed", "sign")
        add("R", t.returns, "plain", "text")
        return out

    def _head(self, t: Trace, columns: list[Column], picture: int) -> Line:
        p = self.desk.palette
        line = Line().cell("", 4).cell("token", 9, p.style("dim"))
        for title, *_, wide in columns:
            line.cell(title, wide, p.style("dim"), right=True)
        if picture >= 12:
            line.add("  ")
            left = _half(picture)
            said = "● V  ┊ m  ◇ outcome" if t.critic else "┊ m  ◇ outcome"
            line.cell(clip(said, left), left + 1, p.style("faint"))
            line.add("− Â +" if left < picture else "", p.style("faint"))
        return line

    def _style(self, x: float, hue: str) -> Style:
        p = self.desk.palette
        if not math.isfinite(x):
            return p.style("warn")
        if hue != "sign":
            return p.style(hue)
        return p.style("faint" if abs(x) < 0.005 else "plus" if x > 0 else "minus")

    def _picture(self, t: Trace, i: int, mean: float, width: int) -> Line:
        """Where forecast, mean and outcome stand, and the advantage as a bar."""
        p = self.desk.palette
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
        """The selected token's numbers in the formulas that made them."""
        p = self.desk.palette
        out = [Line("─" * width, p.style("line"))]
        last = at + 1 >= len(t.advantage)
        if not t.critic:
            end = f"{t.stands} = {number(t.value[at], 3)}" if t.value else ""
            told = f"no critic: {end} stands in for V" if end else "no critic, and no baseline"
            told += f"; Â = {directed(t.advantage[at])} for this token"
            return [*out, *(Line(row, p.style("text")) for row in wrap(told, width))]
        after = "0, the answer ends" if last else _fine(t.value[at + 1])
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
        return out + [Line(clip(x, width), p.style("text")) for x in (delta, gae, told)]


def _fine(x: float, sign: str = "") -> str:
    """Three decimals, and no −0.000."""
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
    """Cells of the forecasts; the rest is the bar's, where there is room for both."""
    return width * 3 // 5 if width >= 24 else width


def _ends(seen: Sequence[float]) -> tuple[float, float]:
    finite = [x for x in seen if math.isfinite(x)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _track(
    p: Palette, marks: Sequence[tuple[float, str, str]], low: float, high: float, width: int
) -> Line:
    """Glyphs at their places between low and high; later ones stand over earlier ones."""
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
    """A bar from the middle: praise to the right, blame to the left."""
    half = max(1, (width - 1) // 2)
    if not math.isfinite(value):
        return Line("?".center(2 * half + 1), p.style("warn"))
    n = min(half, math.ceil(abs(value) / limit * half - 0.3)) if limit > 0 else 0
    line = Line(" " * half if value >= 0 else " " * (half - n))
    if value < 0 and n:
        line.add("◀" + "━" * (n - 1), p.style("minus"))
    line.add("│", p.style("line"))
    return line.add("━" * (n - 1) + "▶", p.style("plus")) if value > 0 and n else line
