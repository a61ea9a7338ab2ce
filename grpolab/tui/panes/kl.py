"""How far the policy has moved: from its start, and in each step."""

from __future__ import annotations

import math

from grpolab.tui import chart
from grpolab.tui.numbers import number
from grpolab.tui.panes.curves import Curve, CurvePane
from grpolab.tui.text import Line

KINDS = (("kl_ref", "to reference", "plus"), ("kl_old", "own move", "heat"))


class Kl(CurvePane):
    index = 4
    title = "KL"
    explains = (
        "to reference: how far the policy has moved from where it started, mean k3 per token. It is there only where "
        "the algorithm asks for the reference (β > 0) or the run records it.\n"
        "own move: how far one step's updates moved the policy away from the one that sampled the rollout.\n"
        "k3 = ρ − 1 − log ρ with ρ = π_ref/π: never below 0, and 0 only where both agree.\n"
        "A curve that bends upwards step by step is the usual first sign of a policy running away: raise β, lower "
        "the learning rate, or make fewer updates per rollout."
    )

    def info(self) -> tuple[str, str]:
        done = self.desk.view.done(self.desk.state)
        if done is None:
            return "", ""
        values = [f"{label} {number(done.metrics.get(key), 2)}" for key, label, _ in KINDS]
        return " · ".join(values), ""

    def content(self, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        lane = self.desk.view.lane_state(self.desk.state)
        if lane is None or not lane.steps:
            return [Line(), Line("  from the first finished step on", p.style("faint"))]
        curves = [Curve(label, *lane.series(key), p._hex(colour)) for key, label, colour in KINDS]
        curves = [c for c in curves if c.y]
        if not curves:
            return [Line(), Line("  this algorithm measures no KL", p.style("faint"))]
        if height < 12:
            tall = height
            return self._plots(lane, curves, width, tall)
        return self._stacked(lane, curves, width, height)

    def _plots(self, lane, curves: list[Curve], width: int, height: int) -> list[Line]:  # noqa: ANN001
        if height < 5 or width < 40:
            return [self._spark(c, width) for c in curves][:height]
        half = (width - 2) // 2
        out: list[Line] = []
        made = []
        for c in curves:
            wide = half if len(curves) > 1 else width
            made.append([self._name(c), *self.plot(c.name, lane, [c], wide, height - 1, _limits(c), marks=False)])
        from grpolab.tui.text import beside

        out = beside(made[0], made[1], half + 2) if len(made) > 1 else made[0]
        return out

    def _stacked(self, lane, curves: list[Curve], width: int, height: int) -> list[Line]:  # noqa: ANN001
        out: list[Line] = []
        for i, c in enumerate(curves):
            tall = height // len(curves) if i < len(curves) - 1 else height - len(out)
            out.append(self._name(c))
            out += self.plot(c.name, lane, [c], width, tall - 1, _limits(c), marks=i == 0)
        return out

    def _name(self, c: Curve) -> Line:
        p = self.desk.palette
        return Line("⣀⠤⠒ ", p.style(c.colour)).add(f"{c.name} ", p.style("dim")).add(number(c.y[-1], 2), p.style("text"))

    def _spark(self, c: Curve, width: int) -> Line:
        """The whole curve on one row, where there is no room for a plot."""
        p = self.desk.palette
        line = Line().cell(c.name, 13, p.style("dim"))
        room = width - 13 - 9
        _, values = chart.decimate(c.x, c.y, max(1, room // 2))
        low, high = _limits(c)
        ticks = "▁▂▃▄▅▆▇█"
        for value in values[-room:]:
            share = (value - low) / (high - low)
            line.add(ticks[min(7, max(0, int(share * 8)))], p.style(c.colour))
        return line.to(width - 8).cell(number(c.y[-1], 2), 8, p.style("text"), right=True)


def _limits(c: Curve) -> tuple[float, float]:
    finite = [y for y in c.y if math.isfinite(y)]
    low = min([0.0, *finite])
    return low, chart.nice(max([1e-6, *finite]))
