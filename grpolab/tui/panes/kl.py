"""How far the policy has moved: from its start, and in each step."""

from __future__ import annotations

from grpolab.hints import METRICS
from grpolab.lane_state import LaneState
from grpolab.tui import chart
from grpolab.tui.extremes import span
from grpolab.tui.numbers import number
from grpolab.tui.panes.curves import Curve, CurvePane
from grpolab.tui.text import Line, beside, clip

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
