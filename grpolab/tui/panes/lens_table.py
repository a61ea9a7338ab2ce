"""The lens's table: one algorithm a row, and what its gradient has in common with the lane's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.tui.lens import Lens, Look
from grpolab.tui.numbers import MISSING, number, percent, signed
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, flow, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.screens.lens import LensScreen

NO_LOSS = (
    "A loss of 0 is not a gradient of 0: at ratio 1 centred advantages cancel in the value of the "
    "loss, not in its gradient. Look at Σ|grad| and the cosines."
)
NO_GRADIENT = (
    "Nobody has a gradient here: where all rewards of a group are equal, there is nothing to learn."
)
BAR = 9


class LensTable(Part["LensScreen"]):
    title = "Algorithms"

    def info(self) -> tuple[str, str]:
        lens = self.sheet.lens
        if lens is None:
            return "", ""
        many = f"step {lens.step} · {len(lens.looks)} of {len(lens.names)} look at it"
        return many, f"computed under {visible(lens.current).upper()}"

    def content(self, width: int, height: int) -> list[Line]:
        p, lens = self.desk.palette, self.sheet.lens
        told = self.sheet.status()
        status = [Line(row, p.style(told[1])) for row in wrap(told[0], width)] if told else []
        if lens is None:
            about = wrap(self.sheet.explains.replace("\n", "\n\n"), width)
            return [Line(), *status, Line(), *(Line(row, p.style("faint")) for row in about)]
        foot = status + self._foot(lens, width)
        foot = foot[: max(2, height - 6)]
        room = max(1, height - 1 - len(foot))
        at = lens.names.index(self.sheet.at)
        rows = [self._row(lens, lens.names[i], width) for i in window(len(lens.names), at, room)]
        if len(rows) + 1 + len(foot) < height:
            rows.append(Line())
        return [self._head(lens, width), *rows, *foot]

    def _shape(self, lens: Lens, width: int) -> tuple[int, bool, int, int]:
        """Width of the names, whether a loss's terms have columns, width of the bars of the two
        cosines; 0: no bar."""
        two = lens.parameters is not None
        terms = width >= (98 if two else 88)
        rest = width - 4 - 8 - 6 - 8 - 7 - (3 * 9 if terms else 0) - (8 if two else 0)
        bar = BAR if rest >= 14 + BAR else 0
        names = max(8, min(22, rest - bar))
        rest -= names + bar
        second = BAR if two and rest >= BAR else 0
        if bar and rest - second >= BAR - 1:
            bar += BAR - 1
        return names, terms, bar, second

    def _head(self, lens: Lens, width: int) -> Line:
        p = self.desk.palette
        faint = p.style("faint")
        names, terms, bars, second = self._shape(lens, width)
        line = Line("    ").cell("algorithm", names, faint).cell("loss", 8, faint, right=True)
        for name in ("policy", "kl", "value") if terms else ():
            line.cell(name, 9, faint, right=True)
        line.cell("clip", 6, faint, right=True).cell("Σ|grad|", 8, faint, right=True).add(" ")
        head = f"cos to {visible(lens.anchor).upper()}" if bars else "cos"
        line.cell(head, bars + 6, faint, right=not bars)
        if lens.parameters is not None:
            line.add("  ").cell("on parameters" if second else "param", second + 6, faint)
        return line

    def _row(self, lens: Lens, name: str, width: int) -> Line:
        p = self.desk.palette
        here, look = name == self.sheet.at, lens.looks.get(name)
        line = Line("▸" if here else " ", p.style("accent"))
        if name == lens.current:
            glyph, colour = self.desk.lane_mark(lens.lane)
            line.add(glyph, p.style(colour))
        line.to(2).add("◆ " if name == self.sheet.second else "  ", p.style("warn"))
        names, terms, bars, second = self._shape(lens, width)
        if look is None:
            line.cell(visible(name), names, p.style("dim" if here else "faint"))
            told = f"left out: {visible(lens.left_out[name])}"
            line.add(" " + clip(told, max(0, width - line.width - 1)), p.style("faint"))
        else:
            line.cell(visible(name), names, p.style("accent" if here else "text", bold=here))
            line.cell(_loss(look.loss), 8, p.style("text"), right=True)
            for term in ("policy", "kl", "value") if terms else ():
                value = look.terms.get(term, 0.0)
                shown = _loss(value) if value else MISSING
                line.cell(shown, 9, p.style("dim" if value else "faint"), right=True)
            line.cell(percent(look.clipped), 6, p.style("dim"), right=True)
            line.cell(number(look.weight), 8, p.style("text"), right=True).add(" ")
            line.join(self._cosine(_of(lens.cosine, name, lens.anchor), bars))
            if lens.parameters is not None:
                value = _of(lens.parameters, name, lens.anchor)
                line.add("  ").join(self._cosine(value, second))
        line.to(width).whole(("algorithm", name), width)
        return line.on(p.style("", "raised")) if here else line

    def _cosine(self, value: float | None, bar: int) -> Line:
        p = self.desk.palette
        hue = "dim" if value is None else "plus" if value >= 0 else "minus"
        line = Line().cell(signed(value), 6, p.style("text"), right=True)
        return line.add(cosine_bar(value, bar), p.style(hue)) if bar else line

    def _foot(self, lens: Lens, width: int) -> list[Line]:
        """What the selected one's loss is made of, and what must be known about all."""
        p, name = self.desk.palette, self.sheet.at
        look = lens.looks.get(name)
        out: list[Line] = []
        if look is None:
            told = f"{visible(name)}: {visible(lens.left_out[name])}"
            out += [Line(row, p.style("warn")) for row in wrap(told, width)]
        else:
            out += flow(self._terms(look), width, "  ")
            told = _otherwise(self.sheet, lens, look)
            out += [Line(row, p.style("dim")) for row in wrap(told, width) if row]
        if lens.no_gradient:
            out += [Line(row, p.style("warn")) for row in wrap(NO_GRADIENT, width)]
        elif lens.no_loss or lens.cancelled():
            out += [Line(row, p.style("dim")) for row in wrap(NO_LOSS, width)]
        return out

    def _terms(self, look: Look) -> list[Line]:
        p = self.desk.palette
        head = Line(f"{visible(look.name)} ", p.style("accent", bold=True))
        parts = [head.add(f"loss {_loss(look.loss)}", p.style("text"))]
        for i, (term, value) in enumerate((k, v) for k, v in look.terms.items() if v):
            sign = "= " if i == 0 else "+ "
            parts.append(
                Line(f"{sign}{visible(term)} ", p.style("dim")).add(_loss(value), p.style("text"))
            )
        return parts


def _otherwise(sheet: LensScreen, lens: Lens, look: Look) -> str:
    """Whether the lane's algorithm runs with other settings than those that it looks with."""
    lane = sheet.desk.state.lanes.get(lens.lane)
    if look.name != lens.current or lane is None:
        return ""
    name, _, settings = lane.in_force(lens.step)
    other = [k for k, v in settings.items() if k in look.settings and look.settings[k] != v]
    if name != look.name or not other:
        return ""
    told = "All look with their paper's settings; in the lane it has another "
    return told + ", ".join(map(visible, other))


def cosine_bar(value: float | None, width: int) -> str:
    """A bar to the right of the middle for what points the same way, to the left for what does
    not."""
    half = (width - 1) // 2
    if value is None or not math.isfinite(value):
        return " " * half + "│" + " " * half
    halves = min(2 * half, round(abs(value) * 2 * half))
    if value >= 0:
        return " " * half + "│" + ("█" * (halves // 2) + "▌" * (halves % 2)).ljust(half)
    return ("▐" * (halves % 2) + "█" * (halves // 2)).rjust(half) + "│" + " " * half


def _loss(value: float) -> str:
    return "0" if abs(value) < 5e-7 else number(value)


def _of(table: dict[str, dict[str, float]], a: str, b: str) -> float | None:
    return table.get(a, {}).get(b)
