"""The boxes of the curves screen: the charts, and the list of metrics and lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events

from grpolab.analysis.curves import AXIS_WORDS, HINTS
from grpolab.tui.lab.rollouts import window
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.plot import MARGIN, Chart, Drawn, draw, rows, rule_labels, x_axis
from grpolab.tui.widgets.text import Hit, Line, beside, clip, flow, number, visible

if TYPE_CHECKING:
    from grpolab.tui.curves.model import Reading
    from grpolab.tui.curves.screen import CurvesScreen

LEAST = 7
"""Least rows of a chart with its title."""


class Charts(Box["CurvesScreen"]):
    title = "Curves"
    watches = frozenset({"select"})

    def __init__(self, overlay: CurvesScreen, *, id: str) -> None:
        super().__init__(overlay, id=id)
        self.canvas = (1, 1)  # columns of one chart's canvas, and of a whole chart
        self._drawn: dict[tuple[str, int, int], tuple[Chart, Drawn]] = {}
        self._down: tuple[int, int] | None = None

    def info(self) -> tuple[str, str]:
        v, state = self.overlay.view, self.context.state
        told = [f"by {v.axis}"]
        told += [f"smoothed {v.smooth:g}"] if v.smooth else []
        told += ["log scale"] if v.log else []
        told += ["range started: move, then r again"] if v.marked is not None else []
        told += [f"zoomed {len(v.zooms)}×"] if v.zooms else []
        step = v.step(state, self.context.view.lane)
        return " · ".join(told), "" if step is None else f"cursor at step {step}"

    def content(self, width: int, height: int) -> list[Line]:
        v, p = self.overlay.view, self.context.palette
        if not v.names():
            return [Line(), Line("  curves start with the first evaluation", p.style("faint"))]
        if not v.chosen:
            told = "  no metric selected: ↓ ↑ choose one in the list, space draws it"
            return [Line(), Line(clip(told, width), p.style("faint"))]
        across = 2 if width >= 150 and len(v.chosen) > 2 else 1
        wide = (width - 2 * (across - 1)) // across
        self.canvas = max(1, wide - MARGIN), wide
        labels = rule_labels(p, self._chart(v.chosen[0]), wide)
        top = [labels] if any(s.text.strip() for s in labels.segments) else []
        room = height - len(top) - 1
        down = max(1, min(-(-len(v.chosen) // across), room // LEAST))
        first = self._first(down * across)
        shown = v.chosen[first : first + down * across]
        down = -(-len(shown) // across)
        columns = []
        for c in range(across):
            lines = list(top)
            for r in range(down):
                i = r * across + c
                tall = room // down + (r < room % down)
                if i < len(shown):
                    lines += self._one(shown[i], wide, tall)
            lines.append(
                x_axis(p, v.xlim(self.context.state), wide, AXIS_WORDS[v.axis], v.axis != "time")
            )
            columns.append(lines)
        return columns[0] if across == 1 else beside(columns[0], columns[1], wide + 2)

    def _first(self, fit: int) -> int:
        """Index of the first visible chart, such that the selected metric is visible."""
        v = self.overlay.view
        at = v.chosen.index(v.at) if v.at in v.chosen else 0
        return max(0, min(at - at % fit, len(v.chosen) - fit)) if fit < len(v.chosen) else 0

    def _chart(self, name: str) -> Chart:
        return self.overlay.view.chart(
            self.context.state, name, self.context.palette, self.canvas[0]
        )

    def _one(self, name: str, width: int, height: int) -> list[Line]:
        v, p = self.overlay.view, self.context.palette
        head = self._head(name, width)
        chart, tall = self._chart(name), max(2, height - len(head))
        known = self._drawn.get((name, width, tall))
        if known is None or known[0] != chart:
            if len(self._drawn) > 32:
                self._drawn.clear()
            known = self._drawn[name, width, tall] = chart, draw(chart, width, tall)
        below = known[1].below
        if below:
            told = f" {below} values ≤ 0 are not shown"
            if head[0].width + len(told) <= width:
                head[0].add(told, p.style("warn"))
            else:
                head[0] = Line(clip(visible(name), 20), p.style("text", bold=True)).add(
                    clip(told, width - 20), p.style("warn")
                )
        return [*head, *rows(p, known[1], v.x(self.context.state), v.marked)]

    def _head(self, name: str, width: int) -> list[Line]:
        """The metric's name, and the value of each line at the cursor."""
        v, p = self.overlay.view, self.context.palette
        here = name == v.at
        title = Line("▸" if here else " ", p.style("accent"))
        title.add(
            visible(name), p.style("accent" if here else "text", bold=True), hit=("chart", name)
        )
        if broken := v.broken(self.context.state, name):
            title.add(f" {broken} not finite", p.style("warn"))
        readings = v.readings(self.context.state, name, p)
        found = self._flow(title, readings, width, len(readings) > 1)
        if len(found) > 2:
            found = self._flow(title, readings, width, False)
        return found[:2]

    def _flow(self, title: Line, readings: list[Reading], width: int, named: bool) -> list[Line]:
        return flow([title, *(self._reading(r, named) for r in readings)], width, "  ")

    def _reading(self, r: Reading, named: bool) -> Line:
        p = self.context.palette
        line = Line(f"{r.glyph} ", p.style(r.colour))
        if named:
            line.add(f"{clip(r.label, 16)} ", p.style("dim"))
        line.add(number(r.value), p.style("text"))
        if r.spread is not None:
            low, high = r.spread
            line.add(f" {number(low, 2)}…{number(high, 2)}", p.style("dim"))
        elif r.raw is not None and r.raw != r.value:
            line.add(f" raw {number(r.raw)}", p.style("faint"))
        return line

    # the mouse: a click sets the cursor, a drag zooms

    def _column(self, x: int) -> int | None:
        """The canvas column at a mouse column of the box; None outside of the canvas."""
        canvas, wide = self.canvas
        at = (x - 2) % (wide + 2) - MARGIN
        return at if 0 <= at < canvas else None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        column = self._column(event.x)
        self._down = None if column is None else (column, event.y)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        start, self._down = self._down, None
        column = self._column(event.x)
        if start is None or column is None:
            return
        if abs(column - start[0]) >= 2:
            self.overlay.zoom_columns(min(column, start[0]), max(column, start[0]))
        else:
            self.overlay.cursor_to(column)

    def elsewhere(self) -> Hit | None:
        return None

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.overlay.action_row_next()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.overlay.action_row_previous()


class Metrics(Box["CurvesScreen"]):
    """All recorded metrics, which of them are drawn, and what the selected one means."""

    title = "Metrics"

    def info(self) -> tuple[str, str]:
        return "", f"{len(self.overlay.view.chosen)} drawn"

    def content(self, width: int, height: int) -> list[Line]:
        v, p = self.overlay.view, self.context.palette
        names = v.names()
        hint = flow(
            [Line(w, p.style("dim")) for w in HINTS.get(v.at, "one of this algorithm's").split()],
            width, " ",
        )  # fmt: skip
        lanes = self._lanes(width)
        lanes, hint = lanes[: max(1, height // 3)], hint[: max(2, height // 3)]
        room = max(1, height - len(hint) - len(lanes) - 2)
        at = names.index(v.at) if v.at in names else 0
        rows_seen = window(len(names), at, room)
        out = []
        for name in (names[i] for i in rows_seen):
            here, drawn = name == v.at, name in v.chosen
            line = Line("▸" if here else " ", p.style("accent"))
            line.add("■ " if drawn else "□ ", p.style("good" if drawn else "faint"))
            style = p.style("accent" if here else "text" if drawn else "dim", bold=here)
            line.cell(visible(name), max(1, width - 3), style)
            out.append(line.whole(("metric_row", name), width))
        out += [Line()] * (room - len(out))
        return [*out, Line("─" * width, p.style("line")), *hint, *([Line()] if lanes else []),
                *lanes]  # fmt: skip

    def _lanes(self, width: int) -> list[Line]:
        """The lanes, each with the number key that hides it."""
        p, lanes = self.context.palette, list(self.context.state.lanes)
        if len(lanes) < 2:
            return []
        out = []
        for i, name in enumerate(lanes, 1):
            glyph, colour = self.context.lane_mark(name)
            hidden = name in self.overlay.view.hidden
            line = Line(f"{i if i < 10 else ' '} ", p.style("faint"))
            line.add("– " if hidden else f"{glyph} ", p.style("faint" if hidden else colour))
            line.add(
                clip(visible(name), max(1, width - 12)), p.style("faint" if hidden else "text")
            )
            line.add(" hidden" if hidden else "", p.style("faint"))
            out.append(line.whole(("lane", name), width))
        return out
