"""A run directory: scenario.yaml, events.jsonl, engine.log and checkpoints/. No torch here."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpolab.errors import RequestError, closest
from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.tail import Timed
from grpolab.resources import shipped_records

if TYPE_CHECKING:
    from grpolab.scenario.spec import Scenario

EVENTS = "events.jsonl"
SCENARIO = "scenario.yaml"
LOG = "engine.log"
CHECKPOINTS = "checkpoints"
RUNS = Path("runs")


def create(scenario: Scenario, out: Path | None = None) -> Path:
    """Create a run directory with the complete scenario in it: `out`, new or empty, or a new one
    under runs/.

    Raises RequestError where `out` cannot be used.
    """
    from grpolab.scenario import yaml_lines  # yaml takes a while to import, and viewers need none

    path = out or fresh(f"{scenario.name}-{scenario.lanes[0].algorithm.name}")
    try:
        if path.is_dir() and any(path.iterdir()):
            raise RequestError(f"--out {out}: the folder is not empty")
        path.mkdir(parents=True, exist_ok=True)
        (path / SCENARIO).write_text(yaml_lines.dump(scenario.complete()), encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RequestError(
            f"{'--out ' if out else ''}{path}: cannot be written: {reason}"
        ) from None
    return path


def fresh(name: str) -> Path:
    """A new path under runs/: the time, then the name."""
    path = RUNS / re.sub(r"[^A-Za-z0-9._-]+", "-", f"{datetime.now():%Y%m%d-%H%M%S}-{name}")
    n, found = 1, path
    while found.exists():  # two runs may start in one second
        n += 1
        found = path.with_name(f"{path.name}-{n}")
    return found


def find(ref: str, *, shipped: bool = False) -> Path:
    """The run directory that `ref` names: a path, a name under runs/, or `last`; with `shipped`,
    also a record that comes with the package, which is read-only. Raises RequestError."""
    known = sorted(p.parent for p in RUNS.glob(f"*/{EVENTS}"))
    if ref == "last":
        if not known:
            raise RequestError(
                "there is no run under runs/ yet; make one with `grpolab run default`"
            )
        return max(known, key=lambda p: (p / EVENTS).stat().st_mtime)
    for path in (Path(ref), RUNS / ref):
        if (path / EVENTS).is_file() or (path / SCENARIO).is_file():
            return path
    if Path(ref).name == EVENTS and Path(ref).is_file():
        return Path(ref).parent
    if Path(ref).is_dir():
        raise RequestError(f"{ref}: is no run: it has no {EVENTS}")
    records = shipped_records() if shipped else {}
    if ref in records:
        return records[ref]
    raise RequestError(f"{ref}: no such run{_instead(ref, known, list(records))}")


def _instead(ref: str, known: list[Path], records: list[str]) -> str:
    """What there is instead of a run that is not there: the nearest one, or else the newest, and
    the shipped records."""
    told = ""
    if close := closest(ref, [*map(str, known), *(p.name for p in known), *records]):
        told += f"; did you mean {close!r}?"
    elif known:
        newest = max(known, key=lambda p: (p / EVENTS).stat().st_mtime)
        told += f"; the newest is {newest.name!r}"
    if records:
        told += f"{'' if told.endswith('?') else ';'} records that come with grpolab: "
        told += ", ".join(records)
    return told


def opening(run: Path) -> ev.RunStarted | None:
    """The run's first event: its scenario, seed and thread count. None before it is written."""
    try:
        with (run / EVENTS).open("rb") as file:
            for line in file:
                event = codec.decode(line)
                if event is not None and isinstance(event[1], ev.RunStarted):
                    return event[1]
    except FileNotFoundError:
        pass
    return None


def ending(run: Path) -> ev.Ended | None:
    """The run's last event if it is an end. Reads only the end of the file."""
    try:
        with (run / EVENTS).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 65536))  # an end is a short line
            lines = file.read().rstrip(b"\n").rsplit(b"\n", 1)
    except FileNotFoundError:
        return None
    event = codec.decode(lines[-1])
    return event[1] if event is not None and isinstance(event[1], ev.Ended) else None


def is_done(run: Path) -> bool:
    """Whether the run has computed all its steps."""
    end = ending(run)
    return end is not None and end.status == "done"


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The run's checkpoints as (step, folder), oldest first."""
    found = (run / CHECKPOINTS).glob("step-*")
    return sorted((int(p.name[5:]), p) for p in found if p.name[5:].isdigit())


def in_force(events: list[Timed]) -> list[Timed]:
    """The events without those that a resume discarded: what the run's final state rests on."""
    kept: list[Timed] = []
    for t, event in events:
        if isinstance(event, ev.Resumed):
            del kept[_saved(kept, event.step) :]
        kept.append((t, event))
    return kept


def _saved(events: list[Timed], step: int) -> int:
    """How many of these events a resume from `step` keeps: those up to its checkpoint, or to the
    start of the run.
    """
    for i in range(len(events) - 1, -1, -1):
        event = events[i][1]
        if isinstance(event, ev.Checkpointed) and event.step == step:
            return i + 1
    changed = (ev.Switched, ev.SettingChanged, ev.Extended, ev.RolloutStarted, ev.StepDone)
    late = (i for i, (_, e) in enumerate(events) if isinstance(e, changed) and e.step >= step)
    return next(late, len(events))


def planned_steps(events: list[Timed]) -> int:
    """The length of a run in steps, as it was planned last."""
    steps = 0
    for _, e in in_force(events):
        if isinstance(e, ev.RunStarted):
            steps = e.steps
        elif isinstance(e, ev.SettingChanged) and e.key == "train.steps":
            steps = int(e.after)
        elif isinstance(e, ev.Extended):
            steps = e.after
    return steps


def recorded_dtype(events: list[Timed]) -> str | None:
    """The dtype in which the run's model computed: a rerun must use it instead of `auto`."""
    found = (e.dtype for _, e in events if isinstance(e, ev.ModelLoaded))
    dtype = next(found, None)
    return dtype if dtype in ("float32", "bfloat16") else None


def _for_all(key: str) -> bool:
    from grpolab.scenario.spec import lab_wide  # slow to import, and few viewers need it

    return lab_wide(key)


def recorded_cues(events: list[Timed]) -> list[dict[str, Any]]:
    """The manual changes of a run as cues, in their order.

    Added to the run's scenario they reproduce the session. Switches, changed settings and forks
    and more steps count; pauses and evaluations do not affect training.
    """
    cues: list[dict[str, Any]] = []
    planned: list[dict[str, Any]] = []
    for _, e in in_force(events):
        if isinstance(e, ev.RunStarted):
            planned = [cue for cue in e.scenario.get("cues", []) if cue.get("do") == "fork"]
        elif isinstance(e, ev.Switched) and e.origin == "command":
            algorithm = {"name": e.after, "preset": e.preset} | e.settings
            cues.append({"at": e.step, "do": "switch", "algorithm": algorithm, "lane": e.lane})
        elif isinstance(e, ev.SettingChanged) and _for_all(e.key):
            # recorded for every lane, but one change of them all
            cue = {"at": e.step, "do": "set", "key": e.key, "value": e.after}
            if e.origin == "command" and cues[-1:] != [cue]:
                cues.append(cue)
        elif isinstance(e, ev.SettingChanged) and e.origin == "command":
            cues.append({"at": e.step, "do": "set", "key": e.key, "value": e.after, "lane": e.lane})
        elif isinstance(e, ev.Extended) and e.origin == "command":
            cues.append({"at": e.step, "do": "extend", "to": e.after})
        elif isinstance(e, ev.LaneOpened) and e.parent:
            if any(cue["name"] == e.lane for cue in planned + cues if cue["do"] == "fork"):
                continue
            algorithm = {"name": e.algorithm, "preset": e.preset} | e.settings
            fork = {
                "at": e.step,
                "do": "fork",
                "name": e.lane,
                "algorithm": algorithm,
                "lane": e.parent,
            }
            cues.append(fork)
    return cues
