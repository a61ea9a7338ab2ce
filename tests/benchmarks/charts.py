"""`python -m tests.benchmarks.charts`: what a chart costs, drawn by plotext and on the canvas of
the curves screen. Milliseconds of processor time of the drawing thread; the least of 15.

The curves: three lanes of 400 noisy steps, as measured and smoothed, as the curves screen shows
them; and one lane's Learning (12 evaluations, sampled and greedy, 120 rewards) and KL (120 values).
"""

from __future__ import annotations

import random
import time
from array import array
from collections.abc import Callable

from grpolab.analysis.curves import thin
from grpolab.charts.model import Chart, Series
from grpolab.charts.terminal import line_chart
from grpolab.tui.widgets import plot
from grpolab.tui.widgets.palette import DARK, LANE_GLYPHS

SIZES = ((48, 10), (60, 16), (120, 20), (190, 50))


def least(draw: Callable[..., object], *given: object, times: int = 15) -> float:
    found = []
    for _ in range(times):
        began = time.thread_time()
        draw(*given)
        found.append(time.thread_time() - began)
    return 1e3 * min(found)


def noisy(steps: int, seed: int) -> tuple[array[float], array[float]]:
    """Values that rise to about 1, and their exponential mean."""
    rng, mean = random.Random(seed), 0.4
    raw, smooth = array("d"), array("d")
    for step in range(steps):
        raw.append(min(1.0, 0.4 + step / steps) + rng.gauss(0, 0.1))
        mean = 0.9 * mean + 0.1 * raw[-1]
        smooth.append(mean)
    return raw, smooth


def lanes(width: int) -> tuple[plot.Chart, Chart]:
    """The curves screen's chart, for the canvas and for plotext."""
    x, strokes, series = array("d", range(400)), [], []
    for i in range(3):
        raw, smooth = noisy(400, i)
        colour, glyph = DARK.lane(i), LANE_GLYPHS[i]
        strokes.append(plot.Stroke(thin(x, smooth, width), thin(x, raw, width), colour, glyph, i))
        series.append(Series(name="raw", x=x, y=raw, colour=colour))
        series.append(Series(name="mean", x=x, y=smooth, colour=colour, glyph=glyph))
    return plot.Chart(strokes, (0.0, 400.0)), Chart(series=series, xlim=(0.0, 400.0))


def on_canvas(chart: plot.Chart, width: int, height: int) -> None:
    plot.rows(DARK, plot.draw(chart, width, height))


def learning() -> Chart:
    steps, evals = list(range(1, 121)), list(range(0, 121, 10))
    raw, smooth = noisy(121, 7)
    return Chart(
        series=[
            Series(name="test accuracy", x=evals, y=smooth[::10], glyph="●", look="bold"),
            Series(name="greedy", x=evals, y=[v + 0.1 for v in smooth[::10]], glyph="○"),
            Series(name="reward", x=steps, y=raw[1:], scale=(0.0, 1.5)),
        ],
        percent=True,
    )


def main() -> None:
    print("cells     curves: canvas  plotext     Learning    KL")
    for width, height in SIZES:
        wide = max(1, width - plot.MARGIN)
        canvas, chart = lanes(wide)
        kl = Chart(series=[Series(name="kl", x=range(120), y=noisy(120, 9)[0])])
        found = [
            least(on_canvas, canvas, width, height),
            least(line_chart, chart, width, height),
            least(line_chart, learning(), width, height),
            least(line_chart, kl, width, height // 2),
        ]
        told = f"{found[0]:14.1f}{found[1]:9.1f}{found[2]:13.1f}{found[3]:6.1f}"
        print(f"{width:>3}×{height:<3}{told}")


if __name__ == "__main__":
    main()
