"""What the compare view shows: its columns, the seed and the step in view, which rollout stands in
which column, the channel that all share, and each algorithm's formulas in short. No widgets here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from grpolab.analysis.curves import Curve, Tracks, band
from grpolab.analysis.standing import Entrant, Standing, entrants, seeds_of, standing
from grpolab.charts.model import Series
from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui import algorithm_cards, quantities
from grpolab.tui.source import Playing

if TYPE_CHECKING:
    from grpolab.tui.context import AppContext

MOST_ACROSS = 4
"""Columns in sight at most."""

NARROWEST = 38
"""Least width of a column, in cells."""

METRICS = ("test accuracy", "kl_ref")
"""What the two charts show."""

LOWER = ("all", "standing", *METRICS, "none")
"""What stands below the columns. `all` needs a wide screen, the next three are for a narrow one."""


@dataclass(frozen=True)
class Column:
    """One column: a configuration, and its lane of the seed in view."""

    entrant: Entrant
    lane: LaneState | None  # None: this seed has not begun
    glyph: str
    colour: str

    @property
    def name(self) -> str:
        return self.entrant.name


@dataclass(frozen=True)
class Frame:
    """What stands on the screen at one moment."""

    columns: list[Column]
    step: int | None
    rollouts: list[RolloutView | None]  # by column
    offered: list[str]  # channels that some column has
    channel: str
    stopped: set[int]  # ids of lanes that ended before others

    @property
    def shape(self) -> tuple[int, int]:
        """The most prompts, and answers to one, of any column."""
        found = [r for r in self.rollouts if r is not None]
        prompts = max((len(r.prompts) for r in found), default=0)
        return prompts, max((r.group_size for r in found), default=0)


@dataclass
class CompareView:
    """The choices of the compare view. Prompt, answer, token and channel are the lab's."""

    seed: str = ""  # the label of the one in view; empty: the first
    first: int = 0  # the first column in sight
    lower: str = LOWER[0]
    _tracks: dict[int, Tracks] = field(default_factory=dict)
    _entrants: tuple[object, list[Entrant]] = ((), [])
    _frame: tuple[object, Frame | None] = ((), None)
    _standing: tuple[object, Standing | None] = ((), None)

    def frame(self, context: AppContext) -> Frame:
        """What stands on the screen now; made once for all boxes that show something of it."""
        view = context.view
        key = (
            *self._version(context), id(view.held), view.channel, self.seed, context.palette.name,
        )  # fmt: skip
        if self._frame[1] is None or self._frame[0] != key:
            columns, step = self.columns(context), self.step(context)
            rollouts = [self.rollout(context, c, step) for c in columns]
            offered = _offered(columns, rollouts)
            self._frame = key, Frame(
                columns=columns, step=step, rollouts=rollouts, offered=offered,
                channel=_channel(view.channel, offered), stopped=self.stopped(context),
            )  # fmt: skip
        assert self._frame[1] is not None
        return self._frame[1]

    def _version(self, context: AppContext) -> tuple[object, ...]:
        """Of all states that are shown: it changes with each of their events."""
        runs = context.seeds.runs if context.seeds else []
        further = tuple((id(r.state), r.state.version) for r in runs)
        return id(context.state), context.state.version, further

    # --- columns ---

    def entrants(self, context: AppContext) -> list[Entrant]:
        """All configurations with their lanes by seed: those of this run, and of the runs of
        further seeds."""
        lanes = list(context.state.lanes.values())
        runs = context.seeds
        states = [(r.label, r.state) for r in runs.runs] if runs else []
        key = [id(x) for x in lanes], [[id(x) for x in s.lanes.values()] for _, s in states]
        if self._entrants[0] != key:
            self._entrants = key, _with_seeds(entrants(lanes), runs.first if runs else "", states)
        return self._entrants[1]

    def seeds(self, context: AppContext) -> list[str]:
        """Labels of all seeds, also of those that have not begun."""
        found = seeds_of(self.entrants(context))
        if context.seeds is None:
            return found
        known = {*found, *(r.label for r in context.seeds.runs)}
        return sorted(known, key=lambda label: (len(label), label))

    def chosen_seed(self, context: AppContext) -> str:
        labels = self.seeds(context)
        return self.seed if self.seed in labels else labels[0]

    def columns(self, context: AppContext) -> list[Column]:
        """All columns at the seed in view."""
        seed = self.chosen_seed(context)
        out = []
        for entrant in self.entrants(context):
            any_lane = next(iter(entrant.lanes.values()))
            glyph, colour = context.lane_mark(any_lane.name)
            out.append(Column(entrant, entrant.lanes.get(seed), glyph, colour))
        return out

    def focus(self, context: AppContext) -> int:
        """Which column the keys for one lane act on: the lab's lane in view."""
        found = self.entrants(context)
        of = context.view.lane
        return next(
            (i for i, e in enumerate(found) if any(x.name == of for x in e.lanes.values())), 0
        )

    def across(self, context: AppContext, width: int) -> int:
        """How many columns fit."""
        return max(1, min(len(self.entrants(context)), MOST_ACROSS, width // NARROWEST))

    def in_sight(self, context: AppContext, width: int) -> list[Column]:
        """The columns in sight, the focused one among them."""
        found, n = self.frame(context).columns, self.across(context, width)
        at = self.focus(context)
        self.first = max(0, min(self.first, len(found) - n, at))
        self.first = max(self.first, at - n + 1)
        return found[self.first : self.first + n]

    # --- what stands in them ---

    def stopped(self, context: AppContext) -> set[int]:
        """Ids of lanes of a recording that ended before others."""
        if not isinstance(context.source, Playing):
            return set()  # the lanes of one run go in step
        log = context.source.log
        ends = {n: x.step[-1] for n, x in log.lanes.items() if len(x.step)}
        last = max(ends.values(), default=0)
        return {
            id(lane) for name, lane in context.state.lanes.items()
            if lane.last is not None and lane.last.step >= ends.get(name, last) < last
            and context.source.loaded
        }  # fmt: skip

    def step(self, context: AppContext) -> int | None:
        """The step in view: the one that the view is held at, or the newest that every lane has
        finished which still trains."""
        if context.view.held is not None:
            return context.view.held.step
        gone = self.stopped(context)
        lanes = [c.lane for c in self.columns(context) if c.lane is not None]
        steps = {id(x): r.step for x in lanes if (r := newest(x)) is not None}
        training = [steps[id(x)] for x in lanes if id(x) in steps and id(x) not in gone]
        return min(training, default=max(steps.values(), default=None))

    def rollout(self, context: AppContext, column: Column, step: int | None) -> RolloutView | None:
        """What stands in a column: its rollout of the step in view; of a lane that has none, its
        newest before; before the first was graded, the one that is sampled."""
        lane = column.lane
        if lane is None:
            return None
        found = lane.rollout_at(step) if step is not None else None
        if found is not None and found.prompts:
            return found
        before = [s for s in lane.rollouts if step is None or s <= step]
        return lane.rollouts[before[-1]] if before else None

    # --- charts and standing ---

    def standing(self, context: AppContext) -> Standing | None:
        """Who leads; the same object until something new was recorded."""
        key = self._version(context)
        if self._standing[0] != key:
            frame = self.frame(context)
            marks = {c.name: c.glyph for c in frame.columns}
            self._standing = key, standing(self.entrants(context), frame.stopped, marks)
        return self._standing[1]

    def series(self, context: AppContext, metric: str) -> list[Series]:
        """A metric's curves, one for each configuration: of several seeds their mean, with a band
        from the lowest to the highest."""
        out = []
        known = self.standing(context)
        for column in self.frame(context).columns:
            curves = [
                c
                for x in column.entrant.lanes.values()
                if len((c := self._curve(context, x, metric)).x)
            ]
            curves = _abreast(curves, known.step if known else None) or curves
            if not curves:
                continue
            made = Series(
                name=column.name, x=curves[0].x, y=curves[0].y, glyph=column.glyph,
                colour=context.palette._hex(column.colour),
            )  # fmt: skip
            if len(curves) > 1:
                b = band(curves)
                made = replace(made, x=b.x, y=b.mean, band=(b.x, b.low, b.high))
            if metric == "kl_ref":  # float noise before the first update
                made = replace(made, y=[v if abs(v) >= 1e-6 else 0.0 for v in made.y])
            out.append(made)
        return out

    def _curve(self, context: AppContext, lane: LaneState, metric: str) -> Curve:
        tracks = self._tracks.get(id(lane))
        if tracks is None or tracks.lane is not lane:
            tracks = self._tracks[id(lane)] = Tracks(context.state, lane)
        tracks.refresh()
        return tracks.curve(metric)


def _with_seeds(
    found: list[Entrant], first: str, states: Sequence[tuple[str, Any]]
) -> list[Entrant]:
    """The configurations of this run, each with its lanes of the runs of further seeds."""
    if not states:
        return found
    out = []
    for entrant in found:
        lane = next(iter(entrant.lanes.values()))
        more = {} if lane.parent else {k: x for k, s in states if (x := s.lanes.get(lane.name))}
        out.append(Entrant(entrant.name, {first: lane} | more))
    return out


def _abreast(curves: Sequence[Curve], step: int | None) -> list[Curve]:
    """Of the seeds' curves those that have come as far as the standing: one that has just begun
    would cut the mean off at its first steps."""
    if len(curves) < 2 or step is None:
        return list(curves)
    return [c for c in curves if c.x[-1] >= min(step, max(x.x[-1] for x in curves))]


def _offered(columns: Sequence[Column], rollouts: Sequence[RolloutView | None]) -> list[str]:
    """The channels that some column has, in the order in which they are offered."""
    known: dict[str, None] = {}
    for column, r in zip(columns, rollouts, strict=True):
        if r is not None and r.tokens is not None:
            known |= dict.fromkeys(quantities.offered(column.lane, r))
    order = [name for name in quantities.HINTS if name in known]
    return [*order, *(name for name in known if name not in order)]


def _channel(chosen: str, offered: Sequence[str]) -> str:
    """The channel that colors all columns: the chosen one where some column has it, else the
    gradient weight, which says of every token what the algorithm does with it."""
    if not offered:
        return "advantage"
    return chosen if chosen in offered else "push" if "push" in offered else offered[0]


def newest(lane: LaneState) -> RolloutView | None:
    """A lane's newest rollout that has its tokens' numbers; where none is recorded, the newest
    that is graded."""
    found = next((r for r in reversed(lane.rollouts.values()) if r.tokens is not None), None)
    if found is None and lane.rollouts:
        done = lane.last.step if lane.last is not None else 0
        found = next((r for s, r in reversed(lane.rollouts.items()) if s <= done), None)
        if found is None:
            found = next((r for r in reversed(lane.rollouts.values()) if r.graded), None)
    return found


# --- formulas in short ---

_SHORTER = (
    (r" of r_t and V", ""), (r"whiten_batch\(", "whiten("), (r"\((\w) − (\w)\) / ", r"(\1−\2)/"),
    (r"1 if r is the highest of the group, else 0", "1 for the best, else 0"),
    (r"GAE\(γ, λ", "GAE(γ,λ"),
)  # fmt: skip


@lru_cache(maxsize=256)
def in_short(
    formula: str, settings: tuple[tuple[str, Any], ...] = ()
) -> tuple[str, tuple[str, ...]]:
    """A formula's advantage, and its objective J = −L in some lengths, the longest first."""
    said = dict(settings)
    statements = dict(line.split(" = ", 1) for line in formula.splitlines() if " = " in line)
    advantage = f"Â = {statements.get('Â', '')}"
    for pattern, by in _SHORTER:
        advantage = re.sub(pattern, by, advantage)
    if "b" not in statements and re.search(r"\bb\b", advantage) and "baseline" in said:
        b = {"none": "0", "batch": "batch mean", "moving": "moving mean"}
        advantage += f", b = {b.get(said['baseline'], said['baseline'])}"
    whole = statements.get("L", "")
    body = re.sub(r"^−", "", whole)
    # what is added to the mean changes its sign with it
    main, sign, more = _parted(body)
    flip = {" + ": " − ", " − ": " + ", "": ""}
    tail = "" if said.get("beta") == 0 and "β" in more else flip[sign] + more
    main = re.sub(r"clip\((log )?(\w+′?), [^()]*\)", r"clip \1\2", main)
    main = re.sub(r"(ρ\w*′?|clip \w+′?) Â", r"\1 Â", main)
    inner = ""
    if braced := re.fullmatch(r"(.*?)\{ (.*) \}", main):  # what is added is within the mean
        before, inner = braced[1], braced[2]
        alone, _, more = _parted(inner)
        if said.get("beta") == 0 and "β" in more:
            main, inner = before + alone, ""
    bare = re.sub(r"^mean_\w+ ", "", main)
    barest = re.sub(r"^(1/\S+ )?(Σ_t )?", "", bare)
    lengths = [f"J = {main}{tail}", f"{bare}{tail}", bare, barest]
    if inner:
        lengths[2:] = [inner, _parted(inner)[0]]
    return advantage, tuple(dict.fromkeys(x for x in lengths if x))


def _parted(body: str) -> tuple[str, str, str]:
    """The objective's mean, and what is added to it or taken from it behind its last bracket."""
    depth = 0
    for i, char in enumerate(body):
        depth += (char in "({") - (char in ")}")
        if not depth and body[i : i + 3] in (" + ", " − ") and re.match(r"[βμ]", body[i + 3 :]):
            return body[:i], body[i : i + 3], body[i + 3 :]
    return body, "", ""


def formulas_of(lane: LaneState, step: int | None) -> tuple[str, tuple[str, ...]]:
    """The advantage and the objective with which a lane's step was computed; empty until the
    algorithms are known."""
    name, _, settings = lane.in_force(step if step is not None else lane.opened + 1)
    card = algorithm_cards.cards().get(name)
    if card is None:
        return "", ()
    kept = tuple((k, settings[k]) for k in ("beta", "baseline") if k in settings)
    return in_short(card.formula, kept)
