"""The curves screen: every recorded metric over steps, updates, samples, tokens or time, with all
lanes in one chart and a cursor."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.curves.model import CurveView
from grpolab.tui.curves.view import Charts, Metrics
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

REDRAW = frozenset({"step", "eval", "switch", "set", "lane", "resumed", "run"})


class CurvesScreen(Overlay):
    BINDINGS = bindings("curves")
    key = "curves"
    heading = "Curves"
    mouse = "click a chart: cursor; drag over it: zoom to that range; click a metric, a lane, a key"
    explains = (
        "One chart per metric, one line per lane, with its own color, glyph and dashes. Next to "
        "the name is each line's value at the cursor │.\n"
        "Smoothing draws an exponential moving average, with the raw values pale behind it; 0.9 "
        "averages about ten steps. Lanes of the same algorithm whose names differ by a number at "
        "the end are seeds of one configuration: they are drawn as their mean with a band ░ from "
        "the lowest to the highest.\n"
        "┊ marks events: → a switch of the algorithm, = a changed setting, ⑂ a fork.\n"
        "A log scale cannot show values ≤ 0; their number is displayed. Sample: answers sampled so "
        "far; update: optimizer steps. Use these axes to compare algorithms that need more of one "
        "than of the other."
    )

    def __init__(self, context: AppContext, metrics: tuple[str, ...] = ()) -> None:
        super().__init__(context)
        self.view = context.curves = context.curves or CurveView()
        self.view.read(context.state)
        known = self.view.names()
        if wanted := [m for m in metrics if m in known or not known]:
            self.view.chosen = [
                *self.view.chosen,
                *(m for m in wanted if m not in self.view.chosen),
            ]
            self.view.at = wanted[0]
        self.listed: bool | None = None  # show the list of metrics; None: if there is room
        self.part = "charts"
        self.charts = Charts(self, id="charts")
        self.parts = (self.charts, Metrics(self, id="metrics"))

    def news(self, events: list[ev.Event]) -> None:
        if any(e.kind in REDRAW for e in events) or self.view.names() == []:
            self.view.read(self.context.state)
            for part in self.parts:
                part.stale = True

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        listed = width >= 104 if self.listed is None else self.listed
        side = min(34, max(24, width // 5)) if listed else 0
        out = {"charts": Rect(0, 0, width - side, height)}
        return out | ({"metrics": Rect(width - side, 0, side, height)} if side else {})

    def scrolled(self) -> Box[Any] | None:
        return None

    # metrics

    def _go(self, by: int) -> None:
        names = self.view.names()
        if names:
            at = names.index(self.view.at) if self.view.at in names else 0
            self.view.at = names[(at + by) % len(names)]
            if self.listed is None and self.size.width < 104:
                self.listed = True  # so that the selection is visible
        self.again()

    def action_row_next(self) -> None:
        self._go(1)

    def action_row_previous(self) -> None:
        self._go(-1)

    def action_page_down(self) -> None:
        self._chart(1)

    def action_page_up(self) -> None:
        self._chart(-1)

    def _chart(self, by: int) -> None:
        """Select the next drawn chart."""
        v = self.view
        if v.chosen:
            at = v.chosen.index(v.at) if v.at in v.chosen else -1 if by > 0 else 0
            v.at = v.chosen[(at + by) % len(v.chosen)]
        self.again()

    def action_curves_pick(self) -> None:
        v = self.view
        if v.at in v.chosen:
            v.chosen.remove(v.at)
        elif v.at in v.names():
            v.chosen.append(v.at)
        self.again()

    def action_curves_list(self) -> None:
        self.listed = "metrics" not in self.boxes(self.size.width, self.size.height)
        self.again()

    # how it is drawn

    def action_curves_axis(self, by: int = 1) -> None:
        self.view.turn_axis(self.context.state, by)
        self.again()

    def action_curves_smooth(self, by: int = 1) -> None:
        self.view.turn_smooth(by)
        self.again()

    def action_curves_axis_back(self, by: int = -1) -> None:
        self.action_curves_axis(by)

    def action_curves_smooth_back(self, by: int = -1) -> None:
        self.action_curves_smooth(by)

    def action_curves_log(self) -> None:
        self.view.log = not self.view.log
        self.again()

    def action_curves_bands(self) -> None:
        v = self.view
        v.bands = not v.bands
        if not any(g.several for g in v.grouped(self.context.state)) and v.bands:
            self.context.say("no lanes are seeds of one configuration", "warn")
        self.again()

    def action_curves_lane(self, number: int) -> None:
        lanes = list(self.context.state.lanes)
        if number <= len(lanes):
            self._hide(lanes[number - 1])

    def _hide(self, lane: str) -> None:
        if len(self.context.state.lanes) < 2:
            self.context.say("this run has one lane")
        self.view.hidden ^= {lane}
        if self.view.hidden >= set(self.context.state.lanes):
            self.view.hidden.clear()
        self.again()

    # the cursor and the range

    def _move(self, columns: int) -> None:
        self.view.move(self.context.state, columns, self.charts.canvas[0])
        self.again()

    def action_curves_cursor(self) -> None:
        self._move(1)

    def action_curves_cursor_back(self) -> None:
        self._move(-1)

    def action_curves_jump(self) -> None:
        self._move(10)

    def action_curves_back(self) -> None:
        self._move(-10)

    def action_curves_first(self) -> None:
        self.view.cursor = self.view.xlim(self.context.state)[0]
        self.again()

    def action_curves_last(self) -> None:
        self.view.cursor = None
        self.again()

    def _x(self, column: int) -> float:
        low, high = self.view.xlim(self.context.state)
        return low + (high - low) * column / max(1, self.charts.canvas[0] - 1)

    def cursor_to(self, column: int) -> None:
        """A click on a chart."""
        self.view.cursor = self._x(column)
        self.view.move(self.context.state, 0, self.charts.canvas[0])
        self.again()

    def zoom_columns(self, first: int, last: int) -> None:
        """A drag over a chart."""
        self.view.zoom(self._x(first), self._x(last))
        self.again()

    def action_curves_range(self) -> None:
        v, x = self.view, self.view.x(self.context.state)
        if v.marked is None:
            v.marked = x
            self.context.say("the range starts here: move the cursor, then r again; esc cancels")
        else:
            v.zoom(min(v.marked, x), max(v.marked, x))
        self.again()

    def action_curves_zoom(self) -> None:
        self.view.scale(self.context.state, 0.5)
        self.again()

    def action_curves_zoom_back(self) -> None:
        self.view.scale(self.context.state, 2.0)
        self.again()

    def action_curves_whole(self) -> None:
        self.view.zooms, self.view.marked = [], None
        self.again()

    def action_close(self) -> None:
        """Cancel the range, else undo a zoom, else close the screen."""
        v = self.view
        if v.marked is not None:
            v.marked = None
        elif v.zooms:
            v.zooms.pop()
        else:
            super().action_close()
            return
        self.again()

    def action_curves_go(self) -> None:
        """Show the cursor's step in the lab."""
        context = self.context
        step = self.view.step(context.state, context.view.lane)
        if step is None:
            context.say("no step is finished there yet", "warn")
            self.again()
        else:
            self.dismiss(None)
            self.lab.go_to(step)

    def clicked(self, what: str, value: Any) -> None:
        v = self.view
        if what == "chart":
            v.at = str(value)
        elif what == "metric_row":
            v.at = str(value)
            self.action_curves_pick()
            return
        elif what == "lane":
            self._hide(str(value))
            return
        self.again()
