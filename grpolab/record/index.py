"""An index of a run file: where each event is in the file, and when it was written. It grows with
the file.

One pass reads every line but parses only the small ones: of rollouts, which are most of the file,
it stores the positions. Rare events are kept, finished steps go into columns. One thread may
continue reading while another uses what is indexed so far: `lines` is raised last.
"""

from __future__ import annotations

import io
import json
import os
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.history import Samples, Steps
from grpolab.record.tail import Timed

CHUNK = 1 << 21
"""Bytes that are read at a time."""

LONG = 1 << 24
"""Bytes of a file from which a faster JSON parser is worth its import."""

_KINDS = tuple(ev.KINDS)
_CODE = {kind: code for code, kind in enumerate(_KINDS)}
_HEAD = re.compile(
    rb'\{"t":([-+.0-9eE]+),"kind":"([a-z-]+)"(?:,"step":(\d+),"lane":"((?:[^"\\]|\\.)*)")?'
)
PARTS = ("graded", "tokens", "after")
"""Kinds of events that belong to a rollout: each is written once for it, after sampling."""

_PARTS = {kind.encode(): kind for kind in PARTS}
_LAZY = {k: _CODE[k.decode()] for k in (b"sampled", b"phase", *_PARTS)}  # parsed on demand
_PHASES = b',"memory_phases":'  # the last field of a finished step
_PRETRAINING = b"value pretraining"  # such a phase counts samples, see history.Samples


class LaneIndex:
    """One lane's steps and rollouts in the order of the file, those that a resume discarded
    included. Line 0 means none: it is the run's own."""

    def __init__(self, name: str) -> None:
        self.steps = Steps(name)  # without those read while the index was thin
        self.step = array("i")
        self.step_line = array("I")
        self.rollout_step = array("i")
        self.rollout_line = array("I")
        self.parts = {kind: array("I") for kind in PARTS}  # the line of each
        self.samples = Samples()
        self.evals: list[ev.Evaluated] = []
        self.eval_line = array("I")
        self.evals_again: list[int] = []  # entries for the same step as the one before: these count

    def evaluated(self, line: int, e: ev.Evaluated) -> None:
        if self.evals and self.evals[-1].step == e.step:
            self.evals_again.append(len(self.evals))
        self.evals.append(e)
        self.eval_line.append(line)

    def begun(self, line: int, e: ev.RolloutStarted) -> None:
        self.samples.rollout(len(e.prompts), e.group_size)
        self.rollout_step.append(e.step)
        for lines in self.parts.values():
            lines.append(0)
        self.rollout_line.append(line)

    def done(self, line: int, e: ev.StepDone, time: float, *, whole: bool) -> None:
        if whole:
            self.steps.append(e, time, self.samples.done(e.metrics))
        self.step.append(e.step)
        self.step_line.append(line)

    def seen(self, kind: str, line: int, step: int) -> None:
        """This line is a part of a step's newest rollout."""
        at = len(self.rollout_line) - 1
        while at >= 0 and self.rollout_step[at] > step:
            at -= 1
        if at >= 0 and self.rollout_step[at] == step:
            self.parts[kind][at] = line

    def part(self, kind: str, entry: int, lines: int) -> int:
        """The line of a part of a rollout if it is among the first `lines`, else 0."""
        line = self.parts[kind][entry]
        return line if line < lines else 0


class RunIndex:
    """The index of one run file. `read` extends it; all other methods look things up in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0  # events that are indexed; all below are of these
        self.at = array("Q")  # byte offset of each
        self.due = array("d")  # recorded time by which it and all before it were written
        self.kind = bytearray()  # see `code`
        self.rare: list[tuple[int, float, ev.Event]] = []  # line, time, event
        self.resumes: list[tuple[int, int]] = []  # line, and the step from which the run resumed
        self.lanes: dict[str, LaneIndex] = {}
        self.ends = array("d")  # times at which a step finished, without duplicates
        self.start: float | None = None  # when the first rollout began
        self.end = 0  # bytes indexed
        # set by a viewer that folds new events itself: only positions of steps, no streamed text
        self.thin = False
        self._buffer = bytearray(CHUNK)
        self._loads: Callable[[str | bytes], Any] = json.loads
        self._names: dict[bytes, str] = {}
        self._file: io.FileIO | None = None  # for `read`
        self._looked: io.FileIO | None = None  # for looking up

    @staticmethod
    def code(kind: str) -> int:
        """The number that stands for a kind in `kind`."""
        return _CODE[kind]

    @property
    def length(self) -> float:
        """Recorded seconds, as far as the file is indexed."""
        return self.due[self.lines - 1] if self.lines else 0.0

    def close(self) -> None:
        for file in (self._file, self._looked):
            if file is not None:
                file.close()

    # --- reading ---

    def behind(self) -> int:
        """Bytes of the file that are not indexed yet."""
        try:
            return self.path.stat().st_size - self.end
        except OSError:
            return 0

    def read(self, events: list[Timed] | None = None) -> bool:
        """Index about a chunk of the rest of the file. False: there is nothing new. An incomplete
        last line is left for later. New events are appended to `events` if it is given."""
        if self._file is None:
            try:
                self._file = io.FileIO(self.path)
            except FileNotFoundError:
                return False
            if self.behind() > LONG:
                self._loads = codec.quick()
        while True:
            self._file.seek(self.end)
            got = self._file.readinto(self._buffer) or 0
            stop = self._buffer.rfind(b"\n", 0, got)
            if stop >= 0:
                break
            if got < len(self._buffer):
                return False
            self._buffer = bytearray(2 * len(self._buffer))  # a line is longer than the buffer
        a, base = 0, self.end
        while a <= stop:
            if events is None and (a := self._skim(a, stop, base)) > stop:
                break
            b = self._buffer.find(b"\n", a, stop + 1)
            self._line(a, b, base + a, events)
            a = b + 1
        self.end = base + stop + 1
        self.lines = len(self.at)
        if len(self._buffer) > CHUNK:
            self._buffer = bytearray(CHUNK)
        return True

    def _skim(self, a: int, stop: int, base: int) -> int:
        """Index the lines from `a` on that need no parsing; returns where another line begins."""
        buffer, find, match, lazy = self._buffer, self._buffer.find, _HEAD.match, _LAZY.get
        while a <= stop:
            b = find(b"\n", a, stop + 1)
            head = match(buffer, a, b)
            if head is None:
                break
            t, kind, step, lane = head.groups()
            code = lazy(kind)
            if code is None:
                break
            if kind == b"phase":  # some of them count samples
                if find(_PRETRAINING, a, b) >= 0:
                    break
            elif step is None:
                break
            if buffer[b - 1] == 0x7D:  # }: the line is complete
                self._add(base + a, float(t), code)
                if kind in _PARTS:
                    self._lane(lane).seen(_PARTS[kind], len(self.at) - 1, int(step))
            a = b + 1
        return a

    def _line(self, a: int, b: int, at: int, events: list[Timed] | None) -> None:
        """Parse the line at a to b in the buffer, and index it."""
        line = bytes(self._buffer[a:b])
        if events is None and line.endswith(b"}}}") and (cut := line.rfind(_PHASES)) > 0:
            line = line[:cut] + b"}"  # half of a step's line, not needed here
        timed = codec.decode(line, self._loads)
        if timed is None:
            return
        t, event = timed
        if events is not None:
            events.append(timed)
        if self.thin and isinstance(event, ev.Sampled | ev.PhaseChanged):
            return
        self._add(at, t, _CODE[event.kind])
        self._take(len(self.at) - 1, t, event)

    def _add(self, at: int, t: float, code: int) -> None:
        self.at.append(at)
        due = self.due
        due.append(due[-1] if due and due[-1] > t else t)
        self.kind.append(code)

    def _lane(self, written: bytes) -> LaneIndex:
        name = self._names.get(written)
        if name is None:
            name = self._names[written] = str(json.loads(b'"' + written + b'"'))
        return self._of(name)

    def _of(self, name: str) -> LaneIndex:
        lane = self.lanes.get(name)
        if lane is None:
            lane = LaneIndex(name)
            self.lanes = self.lanes | {name: lane}  # a new dict: another thread may be iterating
        return lane

    def _take(self, line: int, t: float, event: ev.Event) -> None:
        """Index a parsed event."""
        match event:
            case ev.RolloutStarted():
                self._of(event.lane).begun(line, event)
                if self.start is None:
                    self.start = t
            case ev.StepDone():
                lane = self._of(event.lane)
                lane.done(line, event, self.due[-1], whole=not self.thin)
                if not self.ends or self.due[-1] > self.ends[-1]:
                    self.ends.append(self.due[-1])
            case ev.Evaluated():
                self._of(event.lane).evaluated(line, event)
            case ev.Sampled():
                pass
            case ev.PhaseChanged() if _PRETRAINING.decode() not in event.detail:
                pass
            case _ if event.kind in PARTS:  # where lines are not skimmed
                lane = self._of(event.lane)  # pyright: ignore[reportAttributeAccessIssue]
                lane.seen(event.kind, line, event.step)  # pyright: ignore[reportAttributeAccessIssue]
            case _:
                if isinstance(event, ev.PhaseChanged) and event.phase == "sampling":
                    self._of(event.lane).samples.sampling(event.detail)
                if isinstance(event, ev.Resumed):
                    self.resumes.append((line, event.step))
                self.rare.append((line, t, event))

    # --- looking up ---

    def event(self, line: int) -> Timed | None:
        """The event of a line, read from the file; None where that fails."""
        try:
            return codec.decode(self.raw(line))
        except OSError:
            return None

    def raw(self, line: int) -> bytes:
        """A line of the file without its newline; from any thread. Raises OSError."""
        at = self.at[line]
        stop = self.at[line + 1] if line + 1 < len(self.at) else self.end
        if self._looked is None or self._looked.closed:
            self._looked = io.FileIO(self.path)
        data = bytearray()
        while at < stop and (part := os.pread(self._looked.fileno(), stop - at, at)):
            data += part
            at += len(part)
        return bytes(data.partition(b"\n")[0])

    def events(self, first: int, stop: int) -> list[Timed]:
        """The events of the lines `first` to `stop`."""
        found = (self.event(line) for line in range(first, stop))
        return [timed for timed in found if timed is not None]

    def _stretches(
        self, steps: array[int], line: array[int], lines: int
    ) -> Iterator[tuple[int, int]]:
        """The entries, given by steps and lines, that are valid after `lines` lines (not discarded
        by a resume), as ranges, newest first. Steps rise within a range."""
        stop, bound = bisect_left(line, lines), 1 << 31
        for at, step in reversed(self.resumes):
            if at < lines:
                first = bisect_left(line, at)
                yield first, bisect_right(steps, bound, first, stop)
                stop, bound = first, min(bound, step)
        yield 0, bisect_right(steps, bound, 0, stop)

    def find(self, steps: array[int], line: array[int], lines: int, step: int) -> int:
        """The valid entry of a step after `lines` lines; −1 if there is none."""
        for first, stop in self._stretches(steps, line, lines):
            at = bisect_right(steps, step, first, stop) - 1
            if at >= first and steps[at] == step:
                return at
        return -1

    def newest(self, steps: array[int], line: array[int], lines: int, count: int) -> dict[int, int]:
        """The newest valid entries after `lines` lines, at most `count`, oldest first: entry by
        step."""
        found: dict[int, int] = {}
        for first, stop in self._stretches(steps, line, lines):
            for at in range(stop - 1, first - 1, -1):
                if len(found) == count:
                    break
                found.setdefault(steps[at], at)
        return dict(sorted(found.items()))

    def finished(self, step: int) -> float | None:
        """When a step was finished in all lanes that have it, as far as is known."""
        found = [
            self.due[lane.step_line[at]]
            for lane in self.lanes.values()
            if (at := self.find(lane.step, lane.step_line, self.lines, step)) >= 0
        ]
        return max(found, default=None)

    def rollouts(self, lane: LaneIndex, lines: int, count: int = 1 << 31) -> dict[int, int]:
        """The newest valid rollouts of a lane after `lines` lines: entry by step."""
        return self.newest(lane.rollout_step, lane.rollout_line, lines, count)

    def rare_upto(self, lines: int) -> list[tuple[int, float, ev.Event]]:
        """The rare events among the first `lines` lines."""
        return self.rare[: bisect_left(self.rare, lines, key=lambda r: r[0])]
