"""The boxes of the memory screen: memory over the steps, by owner, and by phase."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual import events

from grpolab.tui.memory.model import (
    NAMES,
    PEAK,
    Held,
    Stack,
    bar,
    draw,
    in_order,
    ink,
    letter,
    stack,
)
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.plot import MARGIN
from grpolab.tui.widgets.text import Line, clip, size, visible

if TYPE_CHECKING:
    from grpolab.tui.memory.screen import MemoryScreen

FOREIGN = ("outside", "other")
"""Non-model owners, which the run cannot change."""

UPDATE = ("forward", "backward")
"""Phases of the update, measured separately but predicted together."""


class OverSteps(Box["MemoryScreen"]):
    title = "Memory over the steps"
    overlay: MemoryScreen

    def info(self) -> tuple[str, str]:
        s = self.overlay
        row = s.row()
        what = "each step's peak" if s.phase == PEAK else f"phase {visible(s.phase)}"
        told = f"{what}, as shares" if s.shares else what
        told += "" if s.foreign else ", without non-model"
        return told, "" if row < 0 else f"cursor at step {s.rows().number(row)}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        rows, row = s.rows(), s.row()
        wide = width - MARGIN
        if row < 0:
            return [Line(), Line("  appears with the first step", p.style("faint"))]
        if wide < 8 or height < 5:
            return [Line(clip("too small", width), p.style("faint"))]
        predicted = s.predicted_total()
        made = stack(rows, s.phase, wide, 0, () if s.foreign else FOREIGN)
        # a prediction far above would flatten the measured stack
        within = not s.shares and predicted <= 1.5 * made.top
        if within:
            made = replace(made, top=max(made.top, predicted))
        self.overlay.columns = made
        cursor = made.column(rows.number(row))
        lines = draw(
            p, made, height - 2, line_at=predicted if within else 0, cursor=cursor, shares=s.shares
        )
        return [self._marks(made, wide, cursor), *lines, self._axis(made, wide, predicted, within)]

    def _marks(self, made: Stack, wide: int, cursor: int | None) -> Line:
        """Switches and the cursor, above their columns."""
        p, lane = self.context.palette, self.overlay.lane()
        marks = [(made.column(x.step), f"→{visible(x.after).upper()}", "text")
                 for x in (lane.switches if lane else [])]  # fmt: skip
        marks += [(cursor, "▼", "accent")] if cursor is not None else []
        marks.sort(key=lambda m: m[0])
        line = Line(" " * MARGIN)
        for i, (at, label, colour) in enumerate(marks):
            until = marks[i + 1][0] if i + 1 < len(marks) else wide
            line.to(MARGIN + at).add(label[: max(0, until - at)], p.style(colour))
        return line

    def _axis(self, made: Stack, wide: int, predicted: int, within: bool) -> Line:
        p = self.context.palette
        first, last = f"{made.steps[0]}", f"{made.steps[-1]} steps"
        line = Line(" " * (MARGIN - 1)).add("└", p.style("line")).add(first, p.style("faint"))
        if predicted and not self.overlay.shares:
            told = f" {'╌ ' if within else ''}predicted {size(predicted)} "
            told += "" if within else "(above this scale) "
            line.add("──", p.style("line")).add(told, p.style("warn"))
        room = MARGIN + wide - line.width - len(last)
        return line.add("─" * max(0, room), p.style("line")).add(last, p.style("faint"))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        column, made = event.x - 2 - MARGIN, self.overlay.columns
        if made is not None and 0 <= column < len(made.steps):
            self.overlay.to_step(made.steps[column])

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.overlay.action_row_next()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.overlay.action_row_previous()


class Owners(Box["MemoryScreen"]):
    title = "By owner"
    overlay: MemoryScreen

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        rows, row = s.rows(), s.row()
        if row < 0:
            return [Line(), Line("  nothing measured yet", p.style("faint"))]
        held, told = s.kept(rows.held(row, s.phase)), s.predicted()
        drawn = [held, *(self.overlay.columns.held if self.overlay.columns else ())]
        most = {o: max(h.get(o, 0) for h in drawn) for o in {o for h in drawn for o in h}}
        owners = in_order({o for o, n in most.items() if n} | {o for o, n in told.items() if n})
        head = Line().cell("", 17).cell("now", 9, p.style("faint"), right=True)
        head.cell("share", 7, p.style("faint"), right=True)
        if told:
            head.cell("predicted", 11, p.style("faint"), right=True)
            head.cell("Δ", 9, p.style("faint"), right=True)
        head.cell("max", 10, p.style("faint"), right=True)
        whole = sum(held.values()) or 1
        out = [head]
        for o in owners:
            out.append(self._row(o, held.get(o, 0), whole, told, most.get(o, 0)))
        total = Line().cell("  total", 17, p.style("text", bold=True))
        total.cell(size(sum(held.values())), 9, p.style("text", bold=True), right=True).cell("", 7)
        if told:
            all_told = sum(told.values())
            total.cell(size(all_told), 11, p.style("dim"), right=True)
            total.cell(differs(sum(held.values()), all_told), 9, p.style("dim"), right=True)
        peaks = max(sum(h.values()) for h in drawn)
        total.cell(size(peaks), 10, p.style("dim"), right=True)
        return [*out, total, Line(), self._hint(width)]

    def _row(self, o: str, n: int, whole: int, told: Held, most: int) -> Line:
        p = self.context.palette
        line = Line().add(f" {letter(o)} ", ink(p, o, strong=True)).add(" ")
        line.cell(visible(NAMES.get(o, o)), 13, p.style("text" if n else "faint"))
        line.cell(size(n) if n else "none", 9, p.style("text" if n else "faint"), right=True)
        line.cell(f"{100 * n / whole:.0f}%" if n else "", 7, p.style("dim"), right=True)
        if told:
            line.cell(size(told.get(o, 0)) if told.get(o) else "—", 11, p.style("dim"), right=True)
            line.cell(differs(n, told.get(o, 0)), 9, p.style("dim"), right=True)
        return line.cell(size(most), 10, p.style("dim"), right=True)

    def _hint(self, width: int) -> Line:
        told = "? explains the owners"
        return Line(clip(told, width), self.context.palette.style("faint"))


class Phases(Box["MemoryScreen"]):
    title = "By phase"
    overlay: MemoryScreen

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        rows, row = s.rows(), s.row()
        if row < 0:
            return [Line(), Line("  nothing measured yet", p.style("faint"))]
        names = [n for n in rows.phases() if n != PEAK]
        if not names:
            return [Line(), Line("  this run was recorded without phases", p.style("faint"))]
        found = {n: s.kept(rows.held(row, n)) for n in names}
        told = {n: s.kept(h) for n, h in self.context.state.predicted_memory.items()}
        top = max([1, *(sum(h.values()) for h in found.values()),
                   *(sum(h.values()) for h in told.values())])  # fmt: skip
        out = [self._peak()]
        wide = max(4, width - 27)
        for name, held in found.items():
            here = name == s.phase
            line = Line("▸" if here else " ", p.style("accent"))
            line.cell(visible(name), 11, p.style("accent" if here else "text", bold=here))
            line.cell(size(sum(held.values())), 9, p.style("text"), right=True).add("  ")
            line.join(bar(p, held, top, wide))
            out.append(line.whole(("phase", name), width))
            same = "update" if name in UPDATE else name
            if told.get(same):
                line = Line().cell("   predicted", 12, p.style("faint"))
                line.cell(size(sum(told[same].values())), 9, p.style("dim"), right=True).add("  ")
                out.append(line.join(bar(p, told[same], top, wide)).whole(("phase", name), width))
        return out

    def _peak(self) -> Line:
        p, here = self.context.palette, self.overlay.phase == PEAK
        line = Line("▸" if here else " ", p.style("accent"))
        line.add("peak", p.style("accent" if here else "text", bold=here))
        line.add("  of each step, over all phases", p.style("faint"))
        return line.whole(("phase", PEAK), line.width)


def differs(measured: int, predicted: int) -> str:
    """Measured relative to predicted, in percent."""
    if not predicted:
        return "new" if measured else ""
    share = round(100 * (measured - predicted) / predicted)
    return "=" if share == 0 else f"{share:+d}%".replace("-", "−")
