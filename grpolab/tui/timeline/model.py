"""The timeline of a run: bookmarks, checkpoints, rewinds, and changes by hand or by cue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from grpolab.record import directory
from grpolab.record.bookmarks import Bookmark
from grpolab.record.state import LabState
from grpolab.tui.algorithm_cards import word
from grpolab.tui.context import AppContext
from grpolab.tui.source import Playing

KINDS = {
    "start": ("⏮", "dim"),
    "bookmark": ("★", "warn"),
    "checkpoint": ("◇", "good"),
    "switch": ("⇄", "accent"),
    "setting": ("✎", "accent"),
    "fork": ("⑂", "accent"),
    "rewind": ("↶", "bad"),
    "chat": ("?", "heat"),
    "now": ("▶", "text"),
}
"""Each kind's glyph and color."""

SMALL = ("run", "lane", "switch", "set", "chat", "checkpoint", "resumed")
"""Kinds of events that the timeline is made from."""


@dataclass(frozen=True)
class Moment:
    """One entry of the timeline."""

    step: int
    kind: str  # one of KINDS
    text: str
    lane: str = ""
    bookmark: Bookmark | None = None
    kept: bool = False  # training can resume here: the start, or a checkpoint that still exists


def moments(context: AppContext) -> list[Moment]:
    """All entries by step; in a replay also those after the current step."""
    state, last = whole(context)
    several = len(state.lanes) > 1
    found = [Moment(0, "start", "the loaded policy", kept=True)]
    for lane in state.lanes.values():
        at = f"{lane.name}: " if several else ""
        for s in lane.switches:
            text = f"{at}{s.before.upper()} → {s.after.upper()}, {s.preset}"
            found.append(Moment(s.step, "switch", f"{text} (by {s.origin})", lane.name))
        for c in lane.changes:
            text = f"{at}{c.key}: {word(c.before)} → {word(c.after)}"
            found.append(Moment(c.step, "setting", f"{text} (by {c.origin})", lane.name))
        if lane.parent:
            text = f"lane {lane.name} from {lane.parent}, {lane.algorithm.upper()}"
            found.append(Moment(lane.opened, "fork", text, lane.name))
        found += [Moment(c.step, "chat", at + c.prompt, lane.name) for c in lane.chats]
    found += [
        Moment(r.step, "rewind", f"from step {r.before}; the steps after this one were discarded")
        for r in state.rewinds
    ]
    told = "checkpoint: can resume here"
    if context.mode != "live":
        told = "policy, optimizer and random state"
    elif not context.commands:
        told = "checkpoint: can restart from here"
    found += [Moment(step, "checkpoint", told, kept=True) for step in kept(context, last)]
    for b in context.bookmarks.all:
        at = f"{b.lane}: " if several and b.lane in state.lanes else ""
        found.append(Moment(b.step, "bookmark", at + (b.note or "bookmark"), b.lane, b))
    words = {"live": "newest step", "watch": "newest step", "replay": "last step"}
    found.append(Moment(last, "now", words[context.mode]))
    order = {kind: i for i, kind in enumerate(KINDS)}
    return sorted(found, key=lambda m: (m.step, order[m.kind]))


def whole(context: AppContext) -> tuple[LabState, int]:
    """A state with the run's changes (in a replay including later ones), and the last step."""
    source = context.source
    if not isinstance(source, Playing):
        return context.state, context.state.step
    known = source.log.lines
    if source.whole is None or source.whole[0] != known:
        state = LabState()
        for _, t, event in source.log.rare_upto(known):
            if event.kind in SMALL:
                state.apply(event, t)
        source.whole = known, state
    lanes = source.log.lanes.values()
    return source.whole[1], max((max(lane.step, default=0) for lane in lanes), default=0)


def kept(context: AppContext, last: int) -> list[int]:
    """Steps up to `last` whose checkpoints are in the run directory."""
    return [step for step, _ in directory.checkpoints(context.run_dir) if step <= last]


def can_resume(run_dir: Path) -> bool:
    """Whether an engine could resume the run in this folder. A record that comes with the package
    has no checkpoints."""
    return (run_dir / directory.SCENARIO).is_file() and (run_dir / directory.CHECKPOINTS).is_dir()


def undone(state: LabState, to: int) -> list[str]:
    """What a rewind to a step's checkpoint discards, one line each."""
    saved = state.saved.get(to)
    lines = []
    if (count := state.step - to) > 0:
        spent = [s.seconds for lane in state.lanes.values() for s in lane.steps if s.step > to]
        took = sum(chain.from_iterable(seconds.values() for seconds in spent))
        steps = f"step {to + 1}" if count == 1 else f"steps {to + 1} to {state.step}"
        lines.append(f"{steps} of every lane: {took:.0f} s of training")
    for lane in state.lanes.values():
        if lane.new_since(to, saved):
            lines.append(f"lane {lane.name}, forked at step {lane.opened}")
            continue
        made = lane.counts_at(to) if saved is None else saved[lane.name]
        for s in lane.switches[made.switches :]:
            again = " (its cue will repeat it)" if s.origin == "cue" else ""
            lines.append(f"{lane.name}: the switch to {s.after.upper()} at step {s.step}{again}")
        for c in lane.changes[made.changes :]:
            again = " (its cue will repeat it)" if c.origin == "cue" else ""
            lines.append(f"{lane.name}: {c.key} = {word(c.after)} at step {c.step}{again}")
    return lines


def step_meant(text: str, here: int, last: int) -> int:
    """The step meant by 12, +5, -5, 50%, first or last. Raises ValueError with one line."""
    text = text.strip().lower()
    if text in ("first", "start"):
        return 1
    if text in ("last", "end", "now"):
        return last
    found = re.fullmatch(r"([+-]?)(\d{1,9})(%?)", text)
    if found is None or (found[1] and found[3]):
        raise ValueError("expected a step like 12, +5, -5, 50%, first or last")
    number = int(found[2])
    if found[3]:
        number = round(last * number / 100)
    elif found[1]:
        number = here + (number if found[1] == "+" else -number)
    if not 1 <= number <= max(1, last):
        raise ValueError(f"step {number}: the run has steps 1 to {last}")
    return number
