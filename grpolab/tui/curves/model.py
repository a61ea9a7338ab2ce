"""What the curves screen shows: metrics, axis, smoothing, range and cursor, and the charts made
from them and the recorded state. No widgets here."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from grpolab.analysis.curves import (
    SMOOTHING,
    Axis,
    Band,
    Curve,
    Group,
    Tracks,
    band,
    groups,
    places,
    squeeze,
    thin,
    within,
)
from grpolab.record.history import AXES
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState
from grpolab.tui.algorithm_cards import word
from grpolab.tui.widgets.palette import LANE_GLYPHS, Palette
from grpolab.tui.widgets.plot import Chart, Rule, Stroke
from grpolab.tui.widgets.text import clip, visible

FIRST_CHOICE = ("reward", "test accuracy", "kl_ref")


@dataclass(frozen=True)
class Reading:
    """The value of one line at the cursor."""

    label: str
    glyph: str
    colour: str
    value: float | None  # smoothed, as drawn
    raw: float | None = None
    spread: tuple[float, float] | None = None  # lowest and highest of several seeds


@dataclass
class CurveView:
    """The choices, and the curves read so far."""

    chosen: list[str] = field(default_factory=lambda: list(FIRST_CHOICE))
    at: str = FIRST_CHOICE[0]  # the selected metric
    axis: Axis = "step"
    smooth: float = 0.0
    log: bool = False
    bands: bool = True
    hidden: set[str] = field(default_factory=set)
    cursor: float | None = None  # None: at the newest step
    marked: float | None = None  # start of a range to zoom to
    zooms: list[tuple[float, float]] = field(default_factory=list)
    tracks: dict[str, Tracks] = field(default_factory=dict)
    _thinned: dict[str, tuple[object, list[Stroke]]] = field(default_factory=dict)

    def read(self, state: LabState) -> None:
        """Read what the lanes have finished since the last call."""
        for name, lane in state.lanes.items():
            known = self.tracks.get(name)
            if known is None or known.lane is not lane:
                self.tracks[name] = known = Tracks(state, lane)
            known.refresh()
        for name in [n for n in self.tracks if n not in state.lanes]:
            del self.tracks[name]

    # what is recorded

    def names(self) -> list[str]:
        """Every metric that some lane recorded."""
        return list(dict.fromkeys(n for t in self.tracks.values() for n in t.names()))

    def shown(self, state: LabState) -> list[LaneState]:
        """The lanes that are not hidden; all if none would be left."""
        seen = [lane for name, lane in state.lanes.items() if name not in self.hidden]
        return seen or list(state.lanes.values())

    def grouped(self, state: LabState) -> list[Group]:
        lanes = self.shown(state)
        return groups(lanes) if self.bands else [Group(x.name, (x.name,)) for x in lanes]

    def _place(self, state: LabState, group: Group) -> int:
        """Which color and glyph a group has: those of its configuration, or of the lane itself
        where seeds are drawn apart."""
        if self.bands:
            return places(list(state.lanes.values()))[group.lanes[0]]
        return list(state.lanes).index(group.lanes[0])

    def whole(self, state: LabState) -> tuple[float, float]:
        """The range of the axis, from the first to the newest point."""
        spans = [self.tracks[lane.name].span(self.axis) for lane in self.shown(state)]
        low, high = min((a for a, _ in spans), default=0.0), max((b for _, b in spans), default=1.0)
        return low, high if high > low else low + 1.0

    def xlim(self, state: LabState) -> tuple[float, float]:
        return self.zooms[-1] if self.zooms else self.whole(state)

    def x(self, state: LabState) -> float:
        """The cursor's position on the axis."""
        low, high = self.xlim(state)
        return high if self.cursor is None else min(max(self.cursor, low), high)

    def step(self, state: LabState, lane: str) -> int | None:
        """The newest step that a lane had finished at the cursor."""
        tracks = self.tracks.get(lane)
        return tracks.step_at(self.x(state) + 1e-9, self.axis) if tracks else None

    # charts

    def chart(self, state: LabState, name: str, p: Palette, columns: int) -> Chart:
        """One metric as a chart, thinned to `columns`."""
        xlim = self.xlim(state)
        strokes = self._strokes(state, name, xlim, p, columns)
        return Chart(strokes, xlim, self.log, self.rules(state))

    def _strokes(
        self, state: LabState, name: str, xlim: tuple[float, float], p: Palette, columns: int
    ) -> list[Stroke]:
        found = self.grouped(state)
        sizes = tuple(
            (t.columns.generation, len(t), len(t.lane.evals))
            for t in (self.tracks[n] for g in found for n in g.lanes)
        )
        key = (str(sizes), found, self.axis, self.smooth, xlim, columns, p.name)
        cached = self._thinned.get(name)
        if cached is not None and cached[0] == key:
            return cached[1]
        out = []
        for group in found:
            at = self._place(state, group)
            look = p.lane(at), LANE_GLYPHS[at % len(LANE_GLYPHS)], at
            curves = [self.tracks[n].curve(name, self.axis, self.smooth) for n in group.lanes]
            curves = [c for c in curves if len(c.x)]
            if group.several and len(curves) > 1:
                out.append(_of_band(band(curves), xlim, columns, *look))
            elif curves:
                out.append(_of_curve(curves[0], bool(self.smooth), xlim, columns, *look))
        self._thinned[name] = key, out
        return out

    def broken(self, state: LabState, name: str) -> int:
        """How many values of the shown lanes are not finite."""
        lanes = self.shown(state)
        return sum(self.tracks[x.name].curve(name, self.axis).broken for x in lanes)

    def rules(self, state: LabState) -> list[Rule]:
        """Switches, changed settings and forks of the shown lanes, as vertical rules."""
        several = len(state.lanes) > 1
        found: dict[tuple[float, str], tuple[str, list[str]]] = {}
        for lane in self.shown(state):
            tracks = self.tracks[lane.name]
            glyph = LANE_GLYPHS[list(state.lanes).index(lane.name) % len(LANE_GLYPHS)]
            told = [(s.step, f"→{s.after.upper()}", "text") for s in lane.switches]
            told += [(c.step, f"={c.key.rpartition('.')[2]} {word(c.after)}", "dim")
                     for c in lane.changes]  # fmt: skip
            if lane.parent:
                told.append((lane.opened, f"⑂{lane.name} from {lane.parent}", "text"))
            for step, label, colour in told:
                at = tracks.at(step, self.axis), clip(visible(label), 24)
                found.setdefault(at, (colour, []))[1].append(glyph)
        every = len(self.shown(state))
        return [
            Rule(x, ("".join(who) if several and len(who) < every else "") + label, colour)
            for (x, label), (colour, who) in found.items()
        ]

    def readings(self, state: LabState, name: str, p: Palette) -> list[Reading]:
        """The newest value of each line up to the cursor."""
        x, out = self.x(state), list[Reading]()
        for group in self.grouped(state):
            at = self._place(state, group)
            label = f"{group.name} ×{len(group.lanes)}" if group.several else group.name
            look = visible(label), LANE_GLYPHS[at % len(LANE_GLYPHS)], p.lane(at)
            curves = [self.tracks[n].curve(name, self.axis, self.smooth) for n in group.lanes]
            values = [v for c in curves if (v := _value(c, x)) is not None]
            if not values:
                out.append(Reading(*look, None))
            elif len(values) > 1:
                smooth = [v for v, _ in values]
                mean = sum(smooth) / len(smooth)
                out.append(Reading(*look, mean, None, (min(smooth), max(smooth))))
            else:
                out.append(Reading(*look, *values[0]))
        return out

    # cursor and range

    def move(self, state: LabState, columns: int, wide: int) -> None:
        """Move the cursor by `columns` of `wide`, at least to another step."""
        low, high = self.xlim(state)
        here = self.x(state)
        lane = max(self.shown(state), key=lambda x: len(x.steps), default=None)
        if lane is None:
            return
        there = here + columns * (high - low) / max(1, wide - 1)
        tracks = self.tracks[lane.name]
        at, before = tracks.step_at(there + 1e-9, self.axis), tracks.step_at(here + 1e-9, self.axis)
        if at == before and columns:
            at = tracks.next_step(before, 1 if columns > 0 else -1)
        if at is not None:
            there = tracks.at(at, self.axis)
        self.cursor = None if not self.zooms and there >= high else min(max(there, low), high)

    def zoom(self, low: float, high: float) -> None:
        """Show a range."""
        if high > low:
            self.zooms.append((low, high))
        self.marked = None

    def scale(self, state: LabState, by: float) -> None:
        """Zoom in around the cursor (`by` < 1), or out on both sides up to the whole range."""
        (low, high), (first, last), x = self.xlim(state), self.whole(state), self.x(state)
        x = (low + high) / 2 if by > 1 else x
        low, high = max(first, x - (x - low) * by), min(last, x + (high - x) * by)
        if by > 1 and (low, high) == (first, last):
            self.zooms.clear()
        elif high - low > 1e-9 * max(1.0, abs(high)):
            self.zooms = [*self.zooms[:-1], (low, high)] if by > 1 else [*self.zooms, (low, high)]

    def turn_axis(self, state: LabState, by: int) -> None:
        """Change the axis; the cursor stays at its step and zooms are undone."""
        lane = next(iter(self.shown(state)), None)
        step = self.step(state, lane.name) if lane and self.cursor is not None else None
        self.axis = AXES[(AXES.index(self.axis) + by) % len(AXES)]
        self.zooms.clear()
        self.marked = None
        self.cursor = self.tracks[lane.name].at(step, self.axis) if lane and step else None

    def turn_smooth(self, by: int) -> None:
        self.smooth = SMOOTHING[(SMOOTHING.index(self.smooth) + by) % len(SMOOTHING)]


def _of_curve(
    c: Curve, smoothed: bool, xlim: tuple[float, float], columns: int,
    colour: str, glyph: str, index: int,
) -> Stroke:  # fmt: skip
    seen = within(c.x, xlim)
    x, raw = c.x[seen], c.y[seen]
    below = sum(v <= 0 for v in raw)
    if not smoothed:
        return Stroke(thin(x, raw, columns), None, colour, glyph, index, None, below)
    return Stroke(
        thin(x, c.smooth[seen], columns), thin(x, raw, columns), colour, glyph, index, None, below
    )


def _of_band(
    b: Band, xlim: tuple[float, float], columns: int, colour: str, glyph: str, index: int
) -> Stroke:
    s = within(b.x, xlim)
    x, mean, low, high = squeeze(b.x[s], b.mean[s], b.low[s], b.high[s], columns)
    below = sum(v <= 0 for v in b.mean[s])
    return Stroke((x, mean), None, colour, glyph, index, (x, low, high), below)


def _value(c: Curve, x: float) -> tuple[float, float] | None:
    i = bisect_right(c.x, x + 1e-9) - 1
    return (c.smooth[i], c.y[i]) if i >= 0 else None
