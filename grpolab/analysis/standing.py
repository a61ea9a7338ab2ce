"""Who leads: the lanes of one run, or of runs side by side, in the order of their test accuracy,
each with its interval. The screen shows it, and it is printed after a comparison was left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from grpolab.analysis.curves import groups
from grpolab.analysis.intervals import accuracy_half_width
from grpolab.record.events import Evaluated, StepDone
from grpolab.record.lane_state import LaneState

LAST_STEPS = 10
"""The KL is averaged over this many measurements at the end."""

_SEED = re.compile(r"\d+$")


@dataclass(frozen=True)
class Entrant:
    """One configuration, and its lanes by seed. The label of a seed is empty where there are
    none."""

    name: str
    lanes: Mapping[str, LaneState]


def entrants(lanes: Sequence[LaneState]) -> list[Entrant]:
    """The lanes by configuration, in their order. Forks stand alone; and where all lanes are seeds
    of one configuration, each of them does. A lane that is no seed counts with the first."""
    found: dict[str, Entrant] = {}
    for group in groups([lane for lane in lanes if not lane.parent]):
        mine = [lane for lane in lanes if lane.name in group.lanes]
        labels = [_SEED.findall(name)[-1] if group.several else "" for name in group.lanes]
        made = Entrant(group.name, dict(zip(labels, mine, strict=True)))
        found |= dict.fromkeys(group.lanes, made)
    apart = len(set(map(id, found.values()))) < 2
    each = [
        Entrant(lane.name, {"": lane}) if apart or lane.parent else found[lane.name]
        for lane in lanes
    ]
    once = list({id(e): e for e in each}.values())
    first = next((x for x in seeds_of(once) if x), "")
    return [Entrant(e.name, {first: e.lanes[""]}) if "" in e.lanes else e for e in once]


@dataclass(frozen=True)
class Row:
    """A configuration's place. What was not measured is None."""

    name: str
    algorithm: str
    seeds: int  # that are averaged
    step: int | None  # of the evaluation; of several seeds, the lowest
    accuracy: float | None
    half: float | None  # half the 95 % interval
    behind: float | None  # the difference to the best, ≤ 0
    apart: bool  # whether it is larger than the noise of both intervals; of the best, true
    kl: float | None
    seconds: float | None  # per step
    memory: int | None  # bytes of the model at the newest step's peak, the largest of the seeds
    stopped: int | None  # the step after which it stopped, before others


@dataclass(frozen=True)
class Standing:
    """All places, the best first."""

    rows: tuple[Row, ...]
    step: int | None  # of the evaluations that are compared
    prompts: int  # test prompts behind one row, of all its seeds
    seeds: int  # that are averaged
    of: int  # seeds that there are
    marks: Mapping[str, str] = field(default_factory=dict)  # glyph by name


def standing(
    found: Sequence[Entrant],
    stopped: Collection[int] = (),
    marks: Mapping[str, str] | None = None,
) -> Standing | None:
    """The standing of these configurations; None before anything was evaluated.

    Evaluations of the same step are compared: of the newest that every lane of a seed has, and that
    as many seeds have as had the one before. `stopped` are ids of lanes that ended before others;
    each counts with its last evaluation.
    """
    labels = list(dict.fromkeys(label for e in found for label in e.lanes))
    fronts = {label: _front(found, label, stopped) for label in labels}
    known = {label: steps for label, steps in fronts.items() if steps}
    if not known:
        return None
    lead = max(steps[-1] for steps in known.values())
    before = next((s[-2] for s in known.values() if s[-1] == lead and len(s) > 1), lead)
    counted = {at: [k for k, s in known.items() if s[-1] >= at] for at in (before, lead)}
    step = before if len(counted[before]) > len(counted[lead]) else lead
    rows = [_row(e, counted[step], step, stopped) for e in found]
    best = max((r for r in rows if r.accuracy is not None), key=_accuracy, default=None)
    if best is None:
        return None
    rows = [_behind(row, best) for row in rows]
    rows.sort(key=lambda r: -math.inf if r.accuracy is None else r.accuracy, reverse=True)
    evals = [e for x in found for k in counted[step] if (e := _eval(x.lanes.get(k), step))]
    each = max((e.prompts for e in evals), default=0)
    return Standing(
        rows=tuple(rows), step=step, prompts=each * len(counted[step]),
        seeds=len(counted[step]), of=len(labels), marks=marks or {},
    )  # fmt: skip


def _accuracy(row: Row) -> float:
    return -math.inf if row.accuracy is None else row.accuracy


def _front(found: Sequence[Entrant], label: str, stopped: Collection[int]) -> list[int]:
    """The steps of the evaluations that every lane of a seed has that still trains; of all lanes
    where none does."""
    lanes = [e.lanes[label] for e in found if label in e.lanes]
    training = [lane for lane in lanes if id(lane) not in stopped] or lanes
    if not training or not all(lane.evals for lane in training):
        return []
    newest = min(lane.evals[-1].step for lane in training)
    return [e.step for e in training[0].evals if e.step <= newest][-2:] or [newest]


def _eval(lane: LaneState | None, step: int) -> Evaluated | None:
    """A lane's newest evaluation up to a step."""
    return next((e for e in reversed(lane.evals) if e.step <= step), None) if lane else None


def _row(e: Entrant, labels: Sequence[str], step: int, stopped: Collection[int]) -> Row:
    lanes = [e.lanes[label] for label in labels if label in e.lanes]
    evals = [x for lane in lanes if (x := _eval(lane, step)) is not None]
    accuracies = [x.accuracy for x in evals]
    newest = next(iter(lanes or e.lanes.values()))
    kls = [k for lane in lanes if (k := _kl(lane)) is not None]
    seconds = [s for lane in lanes if (s := _seconds(lane)) is not None]
    memory = [_memory(lane.last) for lane in lanes if lane.last is not None]
    over = [lane.last.step for lane in lanes if id(lane) in stopped and lane.last is not None]
    return Row(
        name=e.name, algorithm=newest.algorithm, seeds=len(evals),
        step=min((x.step for x in evals), default=None), accuracy=_mean(accuracies),
        half=accuracy_half_width(accuracies, [x.prompts for x in evals]),
        behind=None, apart=False, kl=_mean(kls), seconds=_mean(seconds),
        memory=max(memory, default=None), stopped=min(over, default=None),
    )  # fmt: skip


def _behind(row: Row, best: Row) -> Row:
    """The row with its difference to the best."""
    from dataclasses import replace

    if row.accuracy is None or best.accuracy is None:
        return row
    behind = row.accuracy - best.accuracy
    noise = math.hypot(row.half or 0.0, best.half or 0.0)
    return replace(row, behind=behind, apart=row is best or abs(behind) > noise)


def _kl(lane: LaneState) -> float | None:
    """KL to the reference, the mean of the last measurements; not every step has one."""
    return _mean(lane.series("kl_ref")[1][-LAST_STEPS:].tolist())


def _seconds(lane: LaneState) -> float | None:
    """Rollout, scoring and updates of a step, on average."""
    return math.fsum(lane.steps.spent().values()) / len(lane.steps) if lane.steps else None


def _memory(done: StepDone) -> int:
    """Bytes of the model and what belongs to it at the step's peak."""
    return sum(n for owner, n in done.memory.items() if owner != "outside")


def _mean(values: Sequence[float]) -> float | None:
    mean = fmean(values) if values else math.nan
    return mean if math.isfinite(mean) else None


# --- as text ---

HEADS = ("accuracy", "Δ best", "KL", "s/step", "memory")

NOISE = "≈"
"""Behind a difference that is not larger than the intervals of the two."""


def cells(row: Row) -> list[str]:
    """A row's cells under HEADS."""
    accuracy = "—" if row.accuracy is None else f"{100 * row.accuracy:.0f}"
    if row.accuracy is not None:
        accuracy += f" ±{_points(row.half)}%" if row.half is not None else "%"
    if row.behind is None:
        behind = "—"
    elif row.behind >= 0:
        behind = "best " if row.apart else "= "
    else:
        behind = f"−{_points(-row.behind)}" + (" " if row.apart else NOISE)
    return [
        accuracy, behind, _small(row.kl), _form(row.seconds, lambda s: f"{s:.2f}" if s < 99.5
        else f"{s:.0f}"), _form(row.memory, _size),
    ]  # fmt: skip


def _points(share: float) -> str:
    """Percentage points: one decimal below ten."""
    points = 100 * share
    return f"{points:.1f}" if points < 9.95 else f"{points:.0f}"


def _form(value: float | None, form: Callable[[float], str]) -> str:
    return "—" if value is None else form(value)


def _small(value: float | None) -> str:
    if value is None:
        return "—"
    if abs(value) < 1e-6:  # float noise
        return "0"
    if abs(value) < 0.0005:
        return f"{value:.0e}".replace("e-0", "e−").replace("-", "−")
    return f"{value:.3f}".removeprefix("0") if abs(value) < 9.9995 else f"{value:.0f}"


def _size(value: float) -> str:
    return f"{value / 2**20:.0f} MB" if value < 1000 * 2**20 else f"{value / 2**30:.1f} GB"


def caption(s: Standing) -> str:
    """What is compared, in one line."""
    seeds = ""
    if s.of > 1:
        seeds = f", mean of {s.seeds} seeds" if s.seeds == s.of else f", {s.seeds} of {s.of} seeds"
    return f"test accuracy at step {s.step}, sampled{seeds}"


def notes(s: Standing) -> list[str]:
    """How to read it, the most important first."""
    over = "seeds and test prompts" if s.seeds > 1 else "test prompts"
    told = [f"±: 95 % interval over {over} ({s.prompts} prompts a row)"]
    if any(r.behind and not r.apart for r in s.rows):
        told.append(f"{NOISE} within the intervals of both: no difference is shown")
    told += [f"{r.name} stopped at step {r.stopped}" for r in s.rows if r.stopped is not None]
    return told


def text(s: Standing) -> str:
    """The standing for a terminal."""
    rows = [["lane", *HEADS]]
    for row in s.rows:
        mark = s.marks.get(row.name, "")
        own = row.name if row.algorithm in row.name else f"{row.name} ({row.algorithm})"
        rows.append([f"{mark} {_plain(own)}".strip(), *cells(row)])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = [f"standing: {caption(s)}"]
    for name, *rest in rows:
        padded = (f"{cell:>{wide}}" for cell, wide in zip(rest, widths[1:], strict=True))
        lines.append("  ".join([f"{name:{widths[0]}}", *padded]).rstrip())
    return "\n".join([*lines, *notes(s)])


def _plain(name: str) -> str:
    """A lane's name without what could steer a terminal."""
    return "".join(c if c.isprintable() else "�" for c in name)


def seeds_of(found: Iterable[Entrant]) -> list[str]:
    """The labels of all seeds, in their order; one empty label where there are none."""
    labels = dict.fromkeys(label for e in found for label in e.lanes)
    return sorted((x for x in labels if x), key=lambda x: (len(x), x)) or [""]
