"""Learning and KL: test accuracy and reward over the steps, with a band for each stretch under one
algorithm, and how far the policy has moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar

from rich.cells import cell_len

from grpolab.analysis.metric_help import METRICS
from grpolab.charts.downsample import span
from grpolab.charts.model import Chart, Mark, Series, limits
from grpolab.charts.terminal import Ink, Picture, Row, legend, line_chart, load_ahead
from grpolab.record.lane_state import LaneState
from grpolab.tui.context import AppContext
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.palette import Palette, blend
from grpolab.tui.widgets.text import Line, beside, clip, flow, number, percent, visible


def ink(p: Palette) -> Ink:
    """The colors of a chart's axes."""
    return Ink(p.name, p.line, p.faint, p.text)


def line_of(p: Palette, row: Row) -> Line:
    """A row of a chart."""
    line = Line()
    for text, colour in row:
        line.add(text, p.style(colour or "text"))
    return line


class CurvePane(Pane):
    """Curves over steps, with a line at every switch. Redrawn at most twice a second, and
    only where the numbers, the size or the theme changed."""

    watches = frozenset({"step", "eval", "switch", "lane", "resumed", "run", "select"})
    period = 0.5
    calm = 0.95
    slow = True
    WAITING: ClassVar[str] = ""
    """What stands there until there is something to draw."""

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self._lines: dict[Hashable, tuple[Picture, list[Line]]] = {}

    def waiting(self, lane: LaneState | None) -> list[Line]:
        if lane is not None:  # an engine is there: the first frame was shown, a curve comes soon
            load_ahead()
        return [Line(), Line(f"  {self.WAITING}", self.context.palette.style("faint"))]

    def limit(self, lane: LaneState) -> float:
        """The last step on the axis: some way ahead of the newest, at most the run's last."""
        newest = max([*lane.axis("step")[-1:]] + [e.step for e in lane.evals[-1:]] + [1])
        total = self.context.state.steps
        ahead = float(max(10, -(-newest * 5 // 4 // 10) * 10))
        return min(ahead, float(total)) if total >= newest else float(newest)

    def marks(self, lane: LaneState) -> list[Mark]:
        """Switches, the step that the view is held at, and the cursor."""
        p, view = self.context.palette, self.context.view
        found = [Mark(x=s.step, label="") for s in lane.switches]
        if view.held:
            held = Mark(x=view.held.step, label="▼held", short="▼", colour=p.warn, rank=1)
            found.append(held)
        if view.cursor is not None and not (view.held and view.cursor == view.held.step):
            found.append(Mark(x=view.cursor, label=f"▽{view.cursor}", colour=p.accent, rank=2))
        return found

    def plot(
        self,
        key: str,
        lane: LaneState,
        series: Sequence[Series],
        width: int,
        height: int,
        *,
        marks: bool = True,
        left: int = 0,
        percent: bool = False,
        ylim: tuple[float, float] | None = None,
    ) -> list[Line]:
        """`height` lines: labels of marks, the canvas with its y axis, the x axis."""
        view, last = self.context.view, self.limit(lane)
        ends = tuple((len(s.x), s.x[-1], s.y[-1], s.scale) for s in series if len(s.x))
        version = (
            self.id, key, lane.name, ends, len(lane.switches), last, marks,
            view.held.step if view.held else None, view.cursor, ylim,
        )  # fmt: skip

        def chart() -> Chart:
            found = self.marks(lane) if marks else []
            found += [] if marks else [Mark(x=s.step, label="") for s in lane.switches]
            return Chart(
                series=series, xlim=(0.0, max(1.0, last)), ylim=ylim, marks=found, unit="step",
                percent=percent,
            )  # fmt: skip

        return self.drawn(key, chart, version, width, height, left)

    def bands(self, lane: LaneState, drawn: Picture) -> list[tuple[int, int, str]]:
        """Each stretch under one algorithm: its first column of a picture, the column after its
        last, and the algorithm."""
        names = [lane.switches[0].before if lane.switches else lane.algorithm]
        names += [s.after for s in lane.switches]
        low, high = drawn.x
        columns = drawn.columns

        def column(step: float) -> int:
            share = (step - low) / (high - low) if high > low else 0.0
            return min(columns, max(0, round(share * (columns - 1))))

        edges = [0, *(column(s.step) for s in lane.switches), columns]
        return [
            (edges[i], edges[i + 1], visible(name).upper())
            for i, name in enumerate(names)
            if edges[i + 1] > edges[i]
        ]

    def band_lines(self, lane: LaneState, key: str, width: int) -> list[Line]:
        """The stretches as a row over the chart `key`, each with its name where that has room. A
        second row names them all where one has not."""
        p, known = self.context.palette, self._lines.get(key)
        if known is None or not known[0].columns:
            return []
        line, whole = Line(" " * known[0].left), True
        found = self.bands(lane, known[0])
        for i, (start, stop, name) in enumerate(found):
            edge, room = ("┊" if i else ""), stop - start - (i > 0)
            fits = cell_len(name) + 1 <= room
            whole = whole and fits
            ground = ("raised", "line")[i % 2]
            newest = i == len(found) - 1
            line.add(edge, p.style("faint", ground))
            told = name.center(room) if fits else " " * room
            line.add(told, p.style("accent" if newest else "text", ground, bold=True))
        if whole:
            return [line]
        order = Line()
        for i, s in enumerate(reversed(lane.switches)):
            one = Line(f" →{s.step} ", p.style("faint"))
            one.add(visible(s.after).upper(), p.style("text" if i else "accent", bold=True))
            if one.width + order.width > width - 2:
                order = Line("…", p.style("faint")).join(order)
                break
            order = one.join(order)
        else:
            first = Line(visible(lane.switches[0].before).upper(), p.style("text", bold=True))
            fits = first.width + order.width <= width
            order = first.join(order) if fits else Line("…", p.style("faint")).join(order)
        return [line, order]

    def drawn(
        self, key: str, chart: Callable[[], Chart], version: Hashable, width: int, height: int,
        left: int = 0, bare: bool = False,
    ) -> list[Line]:  # fmt: skip
        """A chart as lines whose cells can be clicked; the same lines where nothing changed."""
        p = self.context.palette
        picture = line_chart(chart, width, height, ink(p), version=version, left=left, bare=bare)
        known = self._lines.get(key)
        if known is not None and known[0] is picture:
            return known[1]
        lines = [line_of(p, row) for row in picture.rows]
        if not bare:
            hits = [
                (picture.left + i, picture.left + i + 1, ("curve", picture.value(i)))
                for i in range(picture.columns)
            ]
            for line in lines[: picture.top + picture.lines]:
                line.hits += hits
        self._lines[key] = picture, lines
        return lines


class Learning(CurvePane):
    index = 3
    title = "Learning"
    WAITING = "curves begin with the first evaluation"
    explains = (
        "● test accuracy: the share of right answers to prompts that training never draws, sampled "
        "at the rollout's temperature. This is what reinforcement learning raises. ○ greedy: the "
        "same prompts, always the likeliest token.\n"
        "reward: mean of each step's rollout, all parts with their weights; on a scale of its own, "
        "which stands beside its name.\n"
        "The band on top names the algorithm of each stretch; ┊ is a switch. ▼held marks the step "
        "that the view is held at.\n"
        "→ and ← (or a click) put ▽ on a step, Enter goes there, Esc comes back.\n"
        "With several lanes: reward of the chosen lane, test accuracy of them all, each with its "
        "own glyph."
    )

    def __init__(self, context: AppContext, *, id: str | None = None) -> None:
        super().__init__(context, id=id)
        self._band_rows = 1  # rows of the bands as last drawn

    def info(self) -> tuple[str, str]:
        lane = self.context.view.lane_state(self.context.state)
        cursor = self.context.view.cursor
        if lane is not None and cursor is not None:
            steps, rewards = lane.series("reward")
            found = next((y for x, y in zip(steps, rewards, strict=True) if x == cursor), None)
            key = self.context.keymap.shown("open")
            return f"▽ step {cursor} · reward {number(found)}", f"{key} goes there"
        if lane is None or not lane.evals:
            return "", ""
        first, last = lane.evals[0], lane.evals[-1]
        began = "" if first is last else f"{percent(first.accuracy)} → "
        return (
            f"test accuracy {began}{percent(last.accuracy)}",
            f"greedy {percent(last.greedy_accuracy)}",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        lane = self.context.view.lane_state(self.context.state)
        if lane is None or not (lane.steps or lane.evals):
            return self.waiting(lane)
        series = self._series(lane)
        top: list[Line] = []
        if height >= 7:
            top = [
                line_of(p, row).whole(("metric", "reward"), width) if "reward" in str(row)
                else line_of(p, row)
                for row in legend(Chart(series=series), width, self._now, p.dim)
            ]  # fmt: skip
        if height >= 22 and lane.evals and lane.evals[-1].by_difficulty:
            levels = lane.evals[-1].by_difficulty.items()
            by = [
                Line(f"{visible(name)} ", p.style("dim")).add(percent(share), p.style("text"))
                for name, share in levels
            ]
            top += flow([Line("test accuracy by level:", p.style("dim")), *by], width, "  ")
        if height >= 22:
            key = self.context.keymap.shown("curves")
            line = Line(f"{key} ", p.style("accent"))
            line.add(clip("every recorded number as a curve", width - 2), p.style("dim"))
            top.append(line.whole(("run", "curves"), width))
        shown = any(s.scale is None and len(s.y) for s in series)
        banded = 0 if height - len(top) < 6 else self._band_rows

        def drawn() -> tuple[list[Line], list[Line]]:
            chart = self.plot(
                "learning", lane, series, width, height - len(top) - banded,
                percent=shown, ylim=_shares(series) if shown else None,
            )  # fmt: skip
            return self.band_lines(lane, "learning", width) if banded else [], chart

        bands, chart = drawn()
        if len(bands) != banded:  # whether all names have room is known once the chart is drawn
            banded = self._band_rows = len(bands)
            bands, chart = drawn()
        return [*top, *bands, *chart]

    def _series(self, lane: LaneState) -> list[Series]:
        """Test accuracy of every lane, the chosen one's thick and filled below; its greedy accuracy
        and reward."""
        p, lanes = self.context.palette, self.context.state.lanes
        several = len(lanes) > 1
        out: list[Series] = []
        for name, other in lanes.items():
            glyph, colour = self.context.lane_mark(name)
            x, y = [e.step for e in other.evals], [e.accuracy for e in other.evals]
            told = visible(name) if several else "test accuracy"
            look = "bold" if other is lane else "line"
            hue = p._hex(colour)
            out.append(Series(name=told, x=x, y=y, colour=hue, glyph=glyph, look=look))
            if other is lane and len(x) > 1:
                below = blend(p.ground, hue, 0.35)
                band = (x, [-1.0] * len(x), y)
                out.append(Series(name="", x=x, y=y, colour=below, look="area", band=band))
        greedy = [e.greedy_accuracy for e in lane.evals]
        steps = [e.step for e in lane.evals]
        out.append(Series(name="greedy", x=steps, y=greedy, colour=p.owners["critic"], glyph="○"))
        x, y = lane.series("reward")
        low, high = span(y) or (0.0, 1.0)
        scale = limits(min(0.0, low), max(0.0, high))
        out.append(Series(name="reward", x=x, y=y, colour=p.faint, scale=scale))
        return out

    def _now(self, s: Series) -> str:
        """A curve's newest value, and the reward's scale."""
        if not len(s.y):
            return "—"
        if s.scale is None:
            return percent(s.y[-1])
        return f"{number(s.y[-1], 2)} (scale {s.scale[0]:g}…{s.scale[1]:g})"


def _shares(series: Sequence[Series]) -> tuple[float, float] | None:
    """Round limits around the accuracies, at least a fifth apart; None if they are no shares."""
    ends = [found for s in series if s.scale is None and (found := span(s.y))]
    if not ends or any(not 0 <= value <= 1 for pair in ends for value in pair):
        return None
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    low, high = math.floor(low * 10 + 1e-9) / 10, math.ceil(high * 10 - 1e-9) / 10
    if high - low < 0.2:
        low, high = max(0.0, low - 0.1), min(1.0, high + 0.1)
    return low, high


KINDS = (("kl_ref", "KL to reference", "plus"), ("kl_old", "per-step KL", "heat"))


class Kl(CurvePane):
    index = 4
    title = "KL"
    WAITING = "from the first finished step on"
    explains = (
        "KL to reference: how far the policy has moved from where it started, mean k3 per token. "
        "Measured in every step where the algorithm asks for the reference (β > 0), and else in "
        "the first and every fourth after it (record.reference_every).\n"
        "per-step KL: how far one step's updates moved the policy away from the one that sampled "
        "the rollout.\n"
        "k3 = ρ − 1 − log ρ with ρ = π_ref/π: never below 0, and 0 only where both agree.\n"
        "A curve that bends upwards step by step is the usual first sign of a policy running "
        "away: raise β, lower the learning rate, or make fewer updates per rollout."
    )

    def info(self) -> tuple[str, str]:
        done = self.context.view.done(self.context.state)
        if done is None:
            return "", ""
        ref, move = (f"{name} {number(done.metrics.get(key), 2)}" for key, name, _ in KINDS)
        room = self.size.width - 14  # beside the title: whole, or not at all; it stands below too
        return ("", "") if cell_len(ref) > room else (ref, move)

    def content(self, width: int, height: int) -> list[Line]:
        p = self.context.palette
        lane = self.context.view.lane_state(self.context.state)
        if lane is None or not lane.steps:
            return self.waiting(lane)
        found = [(label, lane.series(key), p._hex(colour)) for key, label, colour in KINDS]
        series = [Series(name=label, x=x, y=y, colour=c) for label, (x, y), c in found if y]
        if not series:
            return [Line(), Line("  this algorithm measures no KL", p.style("faint"))]
        if height < 8 or width < 24:
            return self._bare(lane, series, width, height)
        if height < 14 and width >= 60:
            return self._beside(lane, series, width, height)
        return self._stacked(lane, series, width, height)

    def _beside(self, lane: LaneState, series: list[Series], width: int, height: int) -> list[Line]:
        wide = (width - 2) // len(series)
        made = [
            [self._label(s, wide), *self.plot(s.name, lane, [s], wide, height - 1, marks=False)]
            for s in series
        ]
        return beside(made[0], made[1], wide + 2) if len(made) > 1 else made[0]

    def _stacked(
        self, lane: LaneState, series: list[Series], width: int, height: int
    ) -> list[Line]:
        out: list[Line] = []
        for i, s in enumerate(series):
            tall = height // len(series) if i < len(series) - 1 else height - len(out)
            out.append(self._label(s, width))
            left = MARGIN if width >= 32 else 0
            out += self.plot(s.name, lane, [s], width, tall - 1, marks=i == 0, left=left)
        return out

    def _label(self, s: Series, width: int) -> Line:
        """The curve's name and newest value, and where there is room what it measures."""
        p = self.context.palette
        key = next(key for key, name, _ in KINDS if name == s.name)
        line = Line("⣀⠤⠒ ", p.style(s.colour)).add(f"{s.name} ", p.style("dim"))
        line.add(number(s.y[-1], 2), p.style("text"))
        if line.width + 3 + cell_len(METRICS[key]) <= width:
            line.add("   ").add(METRICS[key], p.style("faint"))
        return line.whole(("metric", key), width)

    def _bare(self, lane: LaneState, series: list[Series], width: int, height: int) -> list[Line]:
        """Curves without axes, one or a few rows each, where there is no room for a plot."""
        p = self.context.palette
        out: list[Line] = []
        tall, room = max(1, height // len(series)), width - NAME - 8
        for s in series[:height]:
            version = self.id, "bare", s.name, lane.name, len(s.x), s.x[-1], s.y[-1]
            low, high = span(s.y) or (0.0, 1.0)
            ylim = limits(min(0.0, low), max(0.0, high))

            def chart(s: Series = s, ylim: tuple[float, float] = ylim) -> Chart:
                last = float(max(s.x[0] + 1, s.x[-1]))
                return Chart(series=[s], xlim=(float(s.x[0]), last), ylim=ylim, empty="")

            rows = self.drawn(f"{s.name} bare", chart, version, room, tall, bare=True)
            for i, row in enumerate(rows):
                line = Line().cell(s.name if i == tall - 1 else "", NAME, p.style("dim")).join(row)
                now = number(s.y[-1], 2) if i == tall - 1 else ""
                out.append(line.to(width - 8).cell(now, 8, p.style("text"), right=True))
        return out


MARGIN = 8
"""Cells left of the two canvases of KL, so that their steps stand below each other."""

NAME = 16
"""Cells of a curve's name beside it."""
