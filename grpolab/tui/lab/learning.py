"""Reward and held-out accuracy over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.analysis.metric_help import METRICS
from grpolab.record.lane_state import LaneState
from grpolab.tui.context import Desk
from grpolab.tui.widgets import chart
from grpolab.tui.widgets.canvas import Pane
from grpolab.tui.widgets.downsample import span
from grpolab.tui.widgets.text import Line, beside, clip, flow, number, percent, visible

# --- curves ---
# What the two panes with curves share: a plot with its own axes, cached until its data or its
# size changes.


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


class Learning(CurvePane):
    index = 3
    title = "Learning"
    explains = (
        "reward: mean of each step's rollout, all parts with their weights.\n"
        "● held-out: accuracy on prompts that training never draws, sampled at the rollout's "
        "temperature. This is what reinforcement learning raises. ○ greedy: the same prompts, "
        "always the likeliest token.\n"
        "┊ a switch of the algorithm; above it, to which one. ▼held marks the step that the "
        "view is held at.\n"
        "→ and ← (or a click) put ▽ on a step, Enter goes there, Esc comes back.\n"
        "With several lanes: reward of the chosen lane, held-out accuracy of them all, each "
        "with its own glyph."
    )

    def info(self) -> tuple[str, str]:
        lane = self.desk.view.lane_state(self.desk.state)
        cursor = self.desk.view.cursor
        if lane is not None and cursor is not None:
            steps, rewards = lane.series("reward")
            found = next((y for x, y in zip(steps, rewards, strict=True) if x == cursor), None)
            key = self.desk.keymap.shown("open")
            return f"▽ step {cursor} · reward {number(found)}", f"{key} goes there"
        if lane is None or not lane.evals:
            return "", ""
        first, last = lane.evals[0], lane.evals[-1]
        if first is last:
            return f"held-out {percent(last.accuracy)}", f"greedy {percent(last.greedy_accuracy)}"
        return (
            f"held-out {percent(first.accuracy)} → {percent(last.accuracy)}",
            f"greedy {percent(last.greedy_accuracy)}",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        lane = self.desk.view.lane_state(self.desk.state)
        if lane is None or not (lane.steps or lane.evals):
            return [Line(), Line("  curves begin with the first evaluation", p.style("faint"))]
        curves = self._curves(lane)
        spans = [found for c in curves if (found := span(c.y))]
        highest = max((high for _, high in spans), default=1.0)
        top = 1.0 if highest <= 1 else 1.2 if highest <= 1.2 else number_above(highest)
        lowest = min((low for low, _ in spans), default=0.0)
        low = 0.0 if lowest >= 0 else -number_above(-lowest)
        if height >= 14 and lane.evals and lane.evals[-1].by_difficulty:
            levels = lane.evals[-1].by_difficulty.items()
            by = [
                Line(f"{visible(name)} ", p.style("dim")).add(percent(share), p.style("text"))
                for name, share in levels
            ]
            by = flow([Line("held-out by level:", p.style("dim")), *by], width, "  ")
        else:
            by = []
        legend = (
            flow([self._entry(c) for c in curves if c.name], width, "  ") if height >= 7 else []
        )
        legend += by
        if height >= 20:
            told = clip(f"reward: {METRICS['reward']}", width)
            legend.append(Line(told, p.style("faint")).whole(("metric", "reward"), width))
            more = f"{self.desk.keymap.shown('curves')} every recorded number as a curve"
            line = Line(clip(more, width), p.style("dim"))
            legend.append(line.whole(("run", "curves"), width))
        return [
            *legend,
            *self.plot("learning", lane, curves, width, height - len(legend), (low, top)),
        ]

    def _curves(self, lane: LaneState) -> list[Curve]:
        p = self.desk.palette
        x, y = lane.series("reward")
        out = [Curve("reward", x, y, "faint" if len(self.desk.state.lanes) > 1 else "dim")]
        several = len(self.desk.state.lanes) > 1
        greedy = [e.greedy_accuracy for e in lane.evals]
        steps = [e.step for e in lane.evals]
        out.append(Curve("greedy", steps, greedy, p.owners["critic"], "○"))
        for name, other in self.desk.state.lanes.items():
            glyph, colour = self.desk.lane_mark(name)
            xs, ys = [e.step for e in other.evals], [e.accuracy for e in other.evals]
            out.append(Curve("", xs, ys, colour))
            out.append(Curve(f"held-out {name}" if several else "held-out", xs, ys, colour, glyph))
        return out

    def _entry(self, curve: Curve) -> Line:
        p = self.desk.palette
        glyph = "⠤⠒" if curve.marker == "braille" else curve.marker
        line = Line(f"{glyph} ", p.style(curve.colour)).add(f"{curve.name} ", p.style("dim"))
        line.add(number(curve.y[-1], 2) if curve.y else "—", p.style("text"))
        if curve.name == "reward":
            line.whole(("metric", "reward"), line.width)
        return line


def number_above(value: float) -> float:
    from grpolab.tui.widgets.chart import nice

    return nice(value)


# --- kl ---
# How far the policy has moved: from its start, and in each step.

KINDS = (("kl_ref", "to reference", "plus"), ("kl_old", "own move", "heat"))


class Kl(CurvePane):
    index = 4
    title = "KL"
    explains = (
        "to reference: how far the policy has moved from where it started, mean k3 per token. "
        "Measured in every step where the algorithm asks for the reference (β > 0), and else in "
        "the first and every fourth after it (record.reference_every).\n"
        "own move: how far one step's updates moved the policy away from the one that sampled "
        "the rollout.\n"
        "k3 = ρ − 1 − log ρ with ρ = π_ref/π: never below 0, and 0 only where both agree.\n"
        "A curve that bends upwards step by step is the usual first sign of a policy running "
        "away: raise β, lower the learning rate, or make fewer updates per rollout."
    )

    def info(self) -> tuple[str, str]:
        done = self.desk.view.done(self.desk.state)
        if done is None:
            return "", ""
        ref, move = (number(done.metrics.get(key), 2) for key, _, _ in KINDS)
        return f"reference {ref}", f"own move {move}"

    def content(self, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        lane = self.desk.view.lane_state(self.desk.state)
        if lane is None or not lane.steps:
            return [Line(), Line("  from the first finished step on", p.style("faint"))]
        curves = [Curve(label, *lane.series(key), p._hex(colour)) for key, label, colour in KINDS]
        curves = [c for c in curves if c.y]
        if not curves:
            return [Line(), Line("  this algorithm measures no KL", p.style("faint"))]
        if height < 8 or width < 24:
            return self._bare(curves, width, height)
        if height < 14 and width >= 60:
            return self._beside(lane, curves, width, height)
        return self._stacked(lane, curves, width, height)

    def _beside(self, lane: LaneState, curves: list[Curve], width: int, height: int) -> list[Line]:
        wide = (width - 2) // len(curves)
        made = [
            [
                self._label(c, wide),
                *self.plot(c.name, lane, [c], wide, height - 1, _limits(c), marks=False),
            ]
            for c in curves
        ]
        return beside(made[0], made[1], wide + 2) if len(made) > 1 else made[0]

    def _stacked(self, lane: LaneState, curves: list[Curve], width: int, height: int) -> list[Line]:
        out: list[Line] = []
        for i, c in enumerate(curves):
            tall = height // len(curves) if i < len(curves) - 1 else height - len(out)
            out.append(self._label(c, width))
            out += self.plot(c.name, lane, [c], width, tall - 1, _limits(c), marks=i == 0)
        return out

    def _label(self, c: Curve, width: int) -> Line:
        """The curve's name and newest value, and where there is room what it measures."""
        p = self.desk.palette
        key = next(key for key, name, _ in KINDS if name == c.name)
        line = Line("⣀⠤⠒ ", p.style(c.colour)).add(f"{c.name} ", p.style("dim"))
        line.add(number(c.y[-1], 2), p.style("text"))
        room = width - line.width - 3
        if room >= 24:
            line.add("   ").add(clip(METRICS[key], room), p.style("faint"))
        return line.whole(("metric", key), width)

    def _bare(self, curves: list[Curve], width: int, height: int) -> list[Line]:
        """Curves without axes, one or a few rows each, where there is no room for a plot."""
        p = self.desk.palette
        out: list[Line] = []
        tall, room = max(1, height // len(curves)), width - 13 - 8
        for c in curves[:height]:
            last = float(max(c.x[0] + 1, c.x[-1]))
            rows = chart.canvas(
                [chart.Series(c.x, c.y)], room, tall, (float(c.x[0]), last), _limits(c)
            )
            for i, cells in enumerate(rows):
                line = Line().cell(c.name if i == tall - 1 else "", 13, p.style("dim"))
                for text, at in cells:
                    line.add(text, p.style(c.colour if at == 0 else "text"))
                now = number(c.y[-1], 2) if i == tall - 1 else ""
                out.append(line.to(width - 8).cell(now, 8, p.style("text"), right=True))
        return out


def _limits(c: Curve) -> tuple[float, float]:
    low, high = span(c.y) or (0.0, 0.0)
    return min(0.0, low), chart.nice(max(1e-6, high))
