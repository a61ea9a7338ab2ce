"""Recorded numbers as curves, without a screen: `grpolab plot`, and the charts under a comparison's
table and at the end of a run."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

from grpolab.analysis.curves import (
    AXIS_WORDS,
    EVALS,
    HINTS,
    Curve,
    Group,
    Tracks,
    band,
    groups,
)
from grpolab.charts import svg
from grpolab.charts.model import GLYPHS, Chart, Mark, Series, printable, short
from grpolab.charts.terminal import Ink, Row, legend, line_chart
from grpolab.errors import RequestError, closest
from grpolab.headless.progress import Output
from grpolab.record.codec import decode
from grpolab.record.directory import EVENTS
from grpolab.record.history import Axis
from grpolab.record.lane_state import LaneState
from grpolab.record.merge import names_of, runs_of
from grpolab.record.state import LabState

AXES: dict[str, Axis] = {
    "step": "step", "update": "update", "samples": "sample", "tokens": "token", "time": "time",
}  # fmt: skip
"""What `--by` takes, and the axis it means."""

ACCURACY, KL = next(iter(EVALS)), "kl_ref"
SHARES = frozenset({*list(EVALS)[:2], "accuracy", "format", "truncated", "clip_fraction"})
"""Metrics that are shares of one, told in percent."""

HUES = ("#3d93cf", "#d55e00", "#009e73", "#b5608e", "#94820a", "#8179d6", "#c0711a", "#7b8794")
"""Of curves in a terminal whose ground is not known: legible on black and on white."""

INK = Ink("terminal", "#808080", "#808080")

SIZE = (100, 18)
"""Columns and rows of a chart, where the terminal is large enough."""

LARGEST, LARGEST_SVG = (1000, 300), (10_000, 10_000)
"""Largest `--size`: columns and rows in a terminal, pixels in a file."""

MOST = 8
"""Curves of one chart."""

SKIPPED = tuple(f'"kind":"{kind}"'.encode() for kind in ("tokens", "sampled", "graded", "after"))
"""Kinds of events that no curve needs, and that are most of a run file."""


@dataclass(frozen=True)
class Lane:
    """One lane of one run."""

    state: LaneState
    tracks: Tracks
    alone: str  # what it is called where there is no other

    @property
    def name(self) -> str:
        """As it is called among the others."""
        return self.state.name


def plot(args: Namespace) -> int:
    """Print or write the curves that were asked for. Raises RequestError."""
    out = _svg_file(args.out)
    size = _size(args.size, LARGEST if out is None else LARGEST_SVG)
    lanes = read(runs_of(args.run))
    known = list(dict.fromkeys(n for lane in lanes for n in lane.tracks.names()))
    if not known:
        raise RequestError(f"{', '.join(args.run)}: nothing is measured yet")
    wanted = [_metric(name, known) for name in args.metric or []]
    metrics = wanted or [n for n in (ACCURACY, KL) if n in known] or known[:1]
    smooth = args.smooth or 0.0
    axis = AXES[args.by]
    charts = [chart(lanes, name, axis, smooth, args.log_y) for name in metrics]
    if out is not None:
        width, height = size or (720, 320)
        try:
            out.write_text(svg.column(charts, width, height), encoding="utf-8")
        except OSError as error:
            raise RequestError(f"--out {out}: cannot be written: {error.strerror}") from None
        print(f"written: {out}", file=sys.stderr)
        return 0
    console = Output()
    for i, (name, one) in enumerate(zip(metrics, charts, strict=True)):
        show(console, one, size, HINTS.get(name, ""), after=i > 0)
    return 0


def _size(text: str | None, largest: tuple[int, int]) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})[x×](\d{1,9})", text.strip().lower())
    width, height = (int(n) for n in found.groups()) if found else (0, 0)
    if not (20 <= width <= largest[0] and 6 <= height <= largest[1]):
        raise RequestError(
            f"--size {text}: WIDTHxHEIGHT was expected, at least 20x6, at most "
            f"{largest[0]}x{largest[1]}"
        )
    return width, height


def _svg_file(name: str | None) -> Path | None:
    if name is None:
        return None
    if Path(name).suffix.lower() != ".svg":
        raise RequestError(f"--out {name}: a file that ends with .svg was expected")
    return Path(name)


def _metric(name: str, known: Sequence[str]) -> str:
    """A recorded metric by its name; case, spaces, - and _ make no difference, nor whether the
    prompts that training never draws are called test or held-out."""

    def plain(text: str) -> str:
        return re.sub(r"[\s_-]+", " ", text.strip().lower()).replace("held out ", "test ")

    for one in known:
        if plain(one) == plain(name):
            return one
    close = closest(name, known)
    told = f"; did you mean {close!r}?" if close else ";"
    raise RequestError(f"--metric {name}: not recorded{told} there are: {', '.join(known)}")


def read(runs: Sequence[Path]) -> list[Lane]:
    """The lanes of these runs, named as a replay of them names them. Raises RequestError."""
    states = [(run, fold(run)) for run in runs]
    begun = [(run, state) for run, state in states if state.lanes]
    if not begun:
        one = runs[0] if len(runs) == 1 else f"the {len(runs)} runs"
        raise RequestError(f"{one}: nothing is recorded yet")
    out: list[Lane] = []
    for (_, state), called in zip(begun, names_of([run for run, _ in begun]), strict=True):
        out += lanes_of(state, called if len(begun) > 1 else "", called)
    return out


def lanes_of(state: LabState, run: str = "", alone: str = "") -> list[Lane]:
    """A state's lanes; `run` is the run's name among several, `alone` that of a lane without
    another: by default, its algorithm."""
    out: list[Lane] = []
    for lane in state.lanes.values():
        if run:
            lane.name = run if len(state.lanes) == 1 else f"{run}/{lane.name}"
        tracks = Tracks(state, lane)
        tracks.refresh()
        out.append(Lane(lane, tracks, alone or lane.algorithm))
    return out


def fold(run: Path) -> LabState:
    """A run's numbers. Answers and per-token channels are not even parsed."""
    state = LabState()
    path = run / EVENTS
    if not path.exists():
        return state
    with path.open("rb") as file:
        for line in file:
            if any(mark in line[:80] for mark in SKIPPED):
                continue
            event = decode(line)
            if event is not None:
                state.apply(event[1], event[0])
    return state


def chart(
    lanes: Sequence[Lane], metric: str, axis: Axis = "step", smooth: float = 0.0,
    log: bool = False,
) -> Chart:  # fmt: skip
    """One metric of these lanes; lanes that are seeds of one configuration as their mean, with a
    band from the lowest to the highest."""
    by_name = {lane.name: lane for lane in lanes}
    found: list[tuple[Group, Series]] = []
    look = "bold" if metric in EVALS or smooth else "line"
    for group in groups([lane.state for lane in lanes]):
        curves = [by_name[n].tracks.curve(metric, axis, smooth) for n in group.lanes]
        curves = [c for c in curves if len(c.x)]
        if curves:
            name = group.name if len(lanes) > 1 else lanes[0].alone
            found.append((group, _series(name, curves, len(found), look)))
    shown = found[:MOST]
    more = f" (the first {MOST} of {len(found)} curves)" if len(found) > MOST else ""
    smoothed = f", smoothed {smooth:g}" if smooth else ""
    spans = [by_name[n].tracks.span(axis) for g, _ in shown for n in g.lanes]
    xlim = (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None
    marks = _marks([(by_name[n], s.glyph) for g, s in shown for n in g.lanes], axis, len(lanes) > 1)
    return Chart(
        series=[s for _, s in shown], xlim=xlim, log=log, percent=metric in SHARES and not log,
        marks=marks, unit=AXIS_WORDS[axis], title=f"{printable(metric)}{smoothed}{more}",
        empty="no value above 0 to show on a log scale" if log else "not measured",
    )  # fmt: skip


def _series(name: str, curves: Sequence[Curve], index: int, look: str) -> Series:
    """One curve, or the mean of several with a band."""
    name = printable(name)
    hue, glyph = HUES[index % len(HUES)], GLYPHS[index % len(GLYPHS)]
    if len(curves) == 1:
        one = curves[0]
        return Series(name=name, x=one.x, y=one.smooth, colour=hue, glyph=glyph, look=look)
    b = band(curves)
    return Series(
        name=f"{name} ×{len(curves)}",
        x=b.x,
        y=b.mean,
        colour=hue,
        glyph=glyph,
        look=look,
        band=(b.x, b.low, b.high),
    )


def _marks(lanes: Sequence[tuple[Lane, str]], axis: Axis, several: bool) -> list[Mark]:
    """Where the lanes switched their algorithms; with the glyphs of those that did, unless all
    did."""
    found: dict[tuple[float, str], list[str]] = {}
    for lane, glyph in lanes:
        for s in lane.state.switches:
            key = lane.tracks.at(s.step, axis), f"→{printable(s.after.upper())}"
            found.setdefault(key, []).append(glyph)
    out = []
    if len(lanes) == 1 and found:
        first = printable(lanes[0][0].state.switches[0].before.upper())
        out.append(Mark(x=lanes[0][0].tracks.at(0, axis), label=first, line=False))
    for (x, label), glyphs in found.items():
        who = "".join(dict.fromkeys(glyphs)) if several and len(glyphs) < len(lanes) else ""
        out.append(Mark(x=x, label=f"{who}{label}", short=f"{who}→"))
    return out


def last(s: Series, percent: bool = False) -> str:
    """A curve's newest value."""
    value = s.y[-1]
    return f"{100 * value:.1f}%" if percent else short(float(f"{value:.3g}"))


def show(
    console: Console, one: Chart, size: tuple[int, int] | None = None, hint: str = "",
    *, after: bool = False,
) -> None:  # fmt: skip
    """Print a chart: its title, its legend, the curves. `after`: an empty line before it."""
    width, height = size or (min(SIZE[0], console.width), min(SIZE[1], max(8, console.height - 4)))
    if after:
        console.print()
    title = Text(one.title, Style(bold=True))
    if hint and len(one.title) + len(hint) + 3 <= width:
        title.append(f"   {hint}", Style(color=INK.tick, bold=False))
    console.print(title)
    for row in legend(one, width, lambda s: last(s, one.percent)):
        console.print(_text(row))
    for row in line_chart(one, width, height, INK, colour=not console.no_color).rows:
        console.print(_text(row))


def _text(row: Row) -> Text:
    out = Text()
    for told, colour in row:
        out.append(told, Style(color=colour) if colour else None)
    out.rstrip()
    return out


def at_the_end(console: Console, state: LabState) -> None:
    """The curve of a run that has ended, on a terminal."""
    lanes = lanes_of(state)
    if _has_room(console) and any(len(lane.state.evals) > 1 for lane in lanes):
        show(console, chart(lanes, ACCURACY), (min(80, console.width - 1), 12))


def under_table(algorithms: Mapping[str, Any]) -> None:
    """A comparison's curves on stdout, where that is a terminal."""
    console = Output()
    found = of_comparison(algorithms)
    if _has_room(console) and any(len(s.x) > 1 for s in found.series):
        show(console, found, (min(SIZE[0], console.width - 1), SIZE[1]), after=True)


def _has_room(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and console.width >= 40


def of_comparison(algorithms: Mapping[str, Any]) -> Chart:
    """A comparison's test accuracy over steps, the best algorithms first: means over seeds, with
    bands from the lowest to the highest."""
    found: list[Series] = []
    for name, one in algorithms.items():
        curves = []
        for evals in (r["eval"] for r in one["seeds"] if r["status"] == "done" and r["eval"]):
            x = array("d", (e["step"] for e in evals))
            y = array("d", (e["accuracy"] for e in evals))
            curves.append(Curve(x, y, y, 0))
        if curves:
            found.append(_series(name, curves, len(found), "bold"))
    more = f" (the best {MOST} of {len(found)})" if len(found) > MOST else ""
    return Chart(series=found[:MOST], percent=True, title=f"{ACCURACY}{more}", unit="steps")
