"""What the two panes with curves share: a plot with its own axes, cached until its data or its size
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.lane_state import LaneState
from grpolab.tui import chart
from grpolab.tui.desk import Desk
from grpolab.tui.panes.base import Pane
from grpolab.tui.text import Line


@dataclass(frozen=True)
class Curve:
    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    marker: str = "braille"


class CurvePane(Pane):
    """Curves over steps, with a labelled rule at every switch. Redrawn at most twice a second."""

    watches = frozenset({"step", "eval", "switch", "lane", "resumed", "run", "select"})
    period = 0.5
    calm = 0.95
    slow = True

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._cache: dict[str, tuple[object, list[Line]]] = {}

    def limit(self, lane: LaneState) -> float:
        """The last step on the axis: some way ahead of the newest, at most the run's last."""
        newest = max([*lane.axis("step")[-1:]] + [e.step for e in lane.evals[-1:]] + [1])
        total = self.desk.state.steps
        ahead = float(max(10, -(-newest * 5 // 4 // 10) * 10))
        return min(ahead, float(total)) if total >= newest else float(newest)

    def plot(
        self,
        key: str,
        lane: LaneState,
        curves: list[Curve],
        width: int,
        height: int,
        ylim: tuple[float, float],
        marks: bool = True,
    ) -> list[Line]:
        """`height` lines: switch labels, the canvas with its y axis, the x axis."""
        held = self.desk.view.held.step if self.desk.view.held else None
        cursor = self.desk.view.cursor
        last = self.limit(lane)
        ends = tuple((len(c.x), c.x[-1] if c.x else 0, c.y[-1] if c.y else 0) for c in curves)
        fresh = (ends, len(lane.switches), width, height, ylim, last, held, cursor,
                 self.desk.palette.name)  # fmt: skip
        cached = self._cache.get(key)
        if cached is not None and cached[0] == fresh:
            return cached[1]
        lines = self._plot(lane, curves, width, height, ylim, last, held, marks)
        self._cache[key] = (fresh, lines)
        return lines

    def _plot(
        self,
        lane: LaneState,
        curves: list[Curve],
        width: int,
        height: int,
        ylim: tuple[float, float],
        last: float,
        held: int | None,
        marks: bool,
    ) -> list[Line]:
        p = self.desk.palette
        tall = height - 1 - int(marks)
        ticks = _ticks(ylim, tall)
        margin, xlim = max([3, *(len(t) for t in ticks.values())]) + 2, (0.0, max(1.0, last))
        wide = width - margin
        if wide < 8 or tall < 2:
            return [Line("too small for a curve", p.style("faint"))]
        rules = [float(s.step) for s in lane.switches]
        drawn = [chart.Series(c.x, c.y, c.marker) for c in curves]
        cursor = self.desk.view.cursor
        here = [float(at) for at in (held, cursor) if at is not None]
        rows = chart.canvas(drawn, wide, tall, xlim, ylim, rules + here)
        colours = [c.colour for c in curves]
        out = [self._labels(lane, xlim, wide, margin, held)] if marks else []
        hits = [
            (margin + i, margin + i + 1, ("curve", xlim[1] * i / max(1, wide - 1)))
            for i in range(wide)
        ]
        for i, row in enumerate(rows):
            line = Line().cell(ticks.get(i, ""), margin - 2, p.style("faint"), right=True)
            line.add(" ┤" if i in ticks else " │", p.style("line"))
            for text, at in row:
                line.add(text, p.style(colours[at]) if 0 <= at < len(colours) else p.style("faint"))
            line.hits += hits
            out.append(line)
        return [*out, self._steps(xlim, wide, margin)]

    def _labels(
        self, lane: LaneState, xlim: tuple[float, float], wide: int, margin: int, held: int | None
    ) -> Line:
        """Over each rule, what was switched to; where labels would meet, the later one wins its
        place.
        """
        p = self.desk.palette
        start = lane.switches[0].before if lane.switches else lane.algorithm
        marks = [(0, start.upper(), "dim")]
        marks += [
            (chart.column(s.step, xlim, wide), f"→{s.after.upper()}", "text") for s in lane.switches
        ]
        if held is not None:
            marks.append((chart.column(held, xlim, wide), "▼held", "warn"))
        cursor = self.desk.view.cursor
        if cursor is not None and cursor != held:
            marks.append((chart.column(cursor, xlim, wide), f"▽{cursor}", "accent"))
        marks.sort(key=lambda m: m[0])
        line = Line(" " * margin)
        for i, (at, label, colour) in enumerate(marks):
            until = marks[i + 1][0] if i + 1 < len(marks) else wide
            room = max(0, until - at - 1)
            label = label if colour != "warn" or len(label) <= room else label[0]
            line.to(margin + at).add(label[:room], p.style(colour))
        return line

    def _steps(self, xlim: tuple[float, float], wide: int, margin: int) -> Line:
        p = self.desk.palette
        line = Line(" " * (margin - 1)).add("└", p.style("line"))
        step = chart.nice(xlim[1] / max(2, wide // 12))
        ticks = [i * step for i in range(int(xlim[1] / step + 1e-9) + 1)]
        for value in ticks:
            label = f"{value:g}" + (" step" if value == ticks[-1] else "")
            at = min(chart.column(value, xlim, wide), wide - len(label))
            if margin + at >= line.width:
                line.add("─" * (margin + at - line.width), p.style("line")).add(
                    label, p.style("faint")
                )
        return line.add("─" * max(0, margin + wide - line.width), p.style("line"))


def _ticks(ylim: tuple[float, float], tall: int) -> dict[int, str]:
    """Labels of the y axis by canvas row: round values, each on the row nearest to it."""
    low, high = ylim
    if tall < 2 or high <= low:
        return {}
    step = chart.nice((high - low) / max(2, min(5, tall // 3)))
    first = int(low / step - 1e-9) if low < 0 else int(low / step + 1 - 1e-9)
    out: dict[int, str] = {}
    for k in range(first, first + 12):
        value = k * step
        if low - 1e-12 <= value <= high + 1e-12:
            row = round((high - value) / (high - low) * (tall - 1))
            out.setdefault(row, f"{value:.6g}".replace("-", "−"))
    return out
