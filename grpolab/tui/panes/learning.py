"""Reward and held-out accuracy over the steps."""

from __future__ import annotations

from grpolab.hints import METRICS
from grpolab.lane_state import LaneState
from grpolab.tui.extremes import span
from grpolab.tui.numbers import number, percent
from grpolab.tui.panes.curves import Curve, CurvePane
from grpolab.tui.text import Line, clip, flow, visible


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
    from grpolab.tui.chart import nice

    return nice(value)
