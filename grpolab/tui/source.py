"""Where the lab's events come from: one interface for live, watched and replayed runs; and the
interface of the engine. Also how to end a child process of the screen.
"""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import Process
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from grpolab.record.events import After, LensMade
from grpolab.record.index import RunIndex
from grpolab.record.seek import IndexedPast
from grpolab.record.state import LabState
from grpolab.record.tail import Timed

Mode = Literal["live", "watch", "replay"]

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)

FAR_BEHIND = 1 << 22
"""Unread bytes above which the state is made from the file's index instead of event by event."""

FAR_AHEAD = 6
"""Finished steps above which a replay does the same."""

GLIMPSE = 1.0
"""Seconds between two states of the end of a run that is still being indexed."""

STRETCH = 0.03
"""Seconds that one poll may spend on indexing a file that is far behind."""


class Engine(Protocol):
    """What the screen needs of the engine process."""

    def ready(self) -> Path:
        """Wait until it has accepted its request; the run directory."""
        ...

    def send(self, command: dict[str, Any]) -> Any:
        """Write one command to the engine's stdin."""
        ...

    def stop(self) -> Any:
        """Ask the engine to finish its step, checkpoint and leave."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    def kill(self) -> Any:
        """Kill it."""
        ...

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of what it printed."""
        ...


class Source(Protocol):
    mode: Mode
    run_dir: Path | None  # known at the latest when it is loaded
    past: IndexedPast | None  # the run's past; there at the latest when there are events

    @property
    def behind(self) -> bool:
        """Whether much of the run is still being found."""
        ...

    def load(self) -> None:
        """Slow preparation, in another thread."""
        ...

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        """Events that are due `seconds` later; True: the state of `fresh` replaces the
        one so far, and they come after it."""
        ...

    def fresh(self) -> LabState:
        """The state that replaces the old one after the last poll."""
        ...

    def close(self) -> None: ...


class Following:
    """A run file that another process writes; `find` gives its directory if it is not known yet."""

    def __init__(
        self, run_dir: Path | None, mode: Mode, find: Callable[[], Path] | None = None
    ) -> None:
        self.mode: Mode = mode
        self.find = find
        self.run_dir = run_dir
        self.past: IndexedPast | None = None
        self.behind = False  # the index has more than the state

    def load(self) -> None:
        """Find the run, and index what is there already if there is much."""
        if self.past is not None:
            return
        if self.run_dir is None and self.find is not None:
            self.run_dir = self.find()
        if self.run_dir is not None:
            log = RunIndex(self.run_dir / "events.jsonl")
            while log.behind() > FAR_BEHIND and log.read():
                self.behind = True
            self.past = IndexedPast(log)  # last: `poll` starts with it

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        if self.past is None:
            return False, []
        log, until = self.past.log, time.monotonic() + STRETCH
        if log.behind() > FAR_BEHIND and not self.behind:  # far behind: start again
            log.close()
            log = RunIndex(log.path)
            self.past, self.behind = IndexedPast(log), True
        while log.behind() > FAR_BEHIND and time.monotonic() < until and log.read():
            pass
        if self.behind:
            if log.behind() > FAR_BEHIND:
                return False, []  # next time
            self.behind = False
            return True, []
        found: list[Timed] = []
        log.thin = True  # the state keeps the columns
        log.read(found)
        self.past.lines = log.lines
        return False, found

    def fresh(self) -> LabState:
        assert self.past is not None
        return self.past.state(self.past.log.lines)

    def close(self) -> None:
        if self.past is not None:
            self.past.log.close()


class Playing:
    """A recorded run with a clock that can be stopped, sped up and moved. It plays already while
    the file is still being indexed."""

    mode: Mode = "replay"

    def __init__(self, run_dir: Path, speed: float = 1.0) -> None:
        self.run_dir: Path | None = run_dir
        self.path = run_dir / "events.jsonl"
        self.speed = speed
        self.playing = True
        self.loaded = False
        self.log = RunIndex(self.path)
        self.past: IndexedPast | None = IndexedPast(self.log)
        self._clock: float | None = None  # None: at the start, also if that is not known yet
        self._to_end = False  # at the end, also if that is not known yet
        self.whole: tuple[int, LabState] | None = None
        """Cache of `timeline.whole`: the number of events, and the state made of the run's changes.
        """
        self._next = 0  # events that were handed out
        self._wait = 0.0  # until when a moving end is not followed

    @property
    def behind(self) -> bool:
        return not self.loaded

    def load(self) -> None:
        """Index the run. Raises OSError."""
        if not self.loaded:
            self.path.stat()
            while self.log.read():
                time.sleep(0)  # let the screen's thread run
            self.loaded = True

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        log = self.log
        if self.playing and (self._clock is not None or self.log.start is not None):
            self._clock = min(self.clock + seconds * self.speed, log.length)
        lines = bisect_right(log.due, self.clock, hi=log.lines)
        if lines < self._next or self._far(lines):
            if self._to_end and not self.loaded and time.monotonic() < self._wait:
                return False, []
            self._next, self._wait = lines, time.monotonic() + GLIMPSE
            return True, []
        found = log.events(self._next, lines)
        self._next = lines
        if self.past is not None:
            self.past.lines = lines
        return False, found

    def _far(self, lines: int) -> bool:
        """Whether enough is due that making the state from the index is quicker."""
        if lines == self._next:
            return False
        done = self.log.kind.count(self.log.code("step"), self._next, lines)
        return done > FAR_AHEAD or self.log.at[lines - 1] - self.log.at[self._next] > FAR_BEHIND

    def fresh(self) -> LabState:
        assert self.past is not None
        return self.past.state(self._next)

    def close(self) -> None:
        self.log.close()

    def lens(self, lane: str, step: int) -> LensMade | None:
        """The lens of a step, if one was recorded, also later than the clock."""
        made = (e for _, _, e in self.log.rare_upto(self.log.lines) if isinstance(e, LensMade))
        return next((e for e in made if (e.lane, e.step) == (lane, step)), None)

    def after(self, lane: str, step: int) -> After | None:
        """What was measured of a step's tokens after its updates, also later than the clock."""
        of, lines = self.log.lanes.get(lane), self.log.lines
        entry = -1 if of is None else self.log.find(of.rollout_step, of.rollout_line, lines, step)
        line = of.part("after", entry, lines) if of is not None and entry >= 0 else 0
        found = self.log.event(line) if line else None
        return found[1] if found is not None and isinstance(found[1], After) else None

    @property
    def clock(self) -> float:
        if self._to_end:
            return self.log.length
        # start at the first rollout, not while libraries were being loaded
        return self._clock if self._clock is not None else self._start

    @property
    def _start(self) -> float:
        return self.log.start or 0.0

    @property
    def length(self) -> float:
        return self.log.length

    @property
    def over(self) -> bool:
        return self.loaded and self._next >= self.log.lines

    def toggle(self) -> None:
        """Play or pause; at the end, play from the start."""
        if self.over and not self.playing:
            self.home()
        elif self._to_end:
            self.seek(self.clock)
        self.playing = not self.playing

    def faster(self, by: int) -> None:
        at = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, at + by))]

    def scrub(self, by: int) -> None:
        """So many finished steps forward or back; the clock stops there."""
        self.playing = False
        ends = self.log.ends
        if not ends:
            return
        if by > 0:
            at = bisect_right(ends, self.clock) + by - 1
        else:
            at = bisect_left(ends, self.clock) + by
        if at < 0:
            self.home()
        else:
            self.seek(ends[min(at, len(ends) - 1)])

    def go(self, step: int) -> None:
        """To the end of a step, or of the nearest one before; the clock stops there."""
        self.playing = False
        found = None
        while step > 0 and found is None:
            found = self.log.finished(step)
            step -= 1
        self.seek(self._start if found is None else found)

    def home(self) -> None:
        self._clock, self._to_end = None, False

    def end(self) -> None:
        self.playing = False
        self._to_end = True

    def seek(self, clock: float) -> None:
        """Move to a recorded time."""
        self._to_end = False
        self._clock = max(0.0, clock)


PATIENCE = 2.0
"""Seconds to wait for a killed process."""


async def end(process: Process) -> None:
    """Kill a child process if it runs, and wait until its pipes are closed: asyncio would print
    warnings about open ones when its loop ends."""
    if process.returncode is None:
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    with suppress(TimeoutError, OSError, ValueError):
        async with asyncio.timeout(PATIENCE):
            await process.communicate()
