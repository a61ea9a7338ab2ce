"""Where a viewer's events come from: a run file that is still being written, or one played on a
clock."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol

from grpolab.events import Event, Graded, RolloutStarted, Tokens, decode

Timed = tuple[float, Event]


class Feed(Protocol):
    """A source of events in the order in which they were written."""

    def poll(self) -> list[Timed]:
        """Events that became due since the last call."""
        ...


class Follow:
    """Tails a run file by whole lines; it may not exist yet. A torn last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.BufferedReader | None = None
        self._rest = b""
        self._at = 0  # where the rest begins
        self.places: dict[tuple[str, int], dict[str, int]] = {}
        """Where the lines of each lane's steps begin that tell of its answers, by kind."""

    def poll(self, limit: int = 1 << 22) -> list[Timed]:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return []
        chunk = self._file.read(limit)
        if not chunk:
            return []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found: list[Timed] = []
        for line in lines:
            if (timed := decode(line)) is not None:
                found.append(timed)
                self._note(timed[1])
            self._at += len(line) + 1
        return found

    def _note(self, event: Event) -> None:
        if isinstance(event, RolloutStarted):
            self.places[event.lane, event.step] = {event.kind: self._at}
        elif isinstance(event, Graded | Tokens):
            self.places.setdefault((event.lane, event.step), {})[event.kind] = self._at

    def recall(self, lane: str, step: int) -> list[Event]:
        """What the file tells of a step's answers, however long ago that was: how the rollout
        began, its grades, its tokens."""
        found: list[Event] = []
        places = self.places.get((lane, step), {})
        try:
            with self.path.open("rb") as file:
                for place in places.values():
                    file.seek(place)
                    if (timed := decode(file.readline())) is not None:
                        found.append(timed[1])
        except OSError:
            return []
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Replay:
    """Plays a finished run's events by their recorded times. `speed` 0 holds the clock; `seek`
    moves it anywhere."""

    def __init__(self, events: list[Timed], speed: float = 1.0) -> None:
        self.events = events
        self.speed = speed
        self.clock = 0.0
        self._next = 0

    @property
    def length(self) -> float:
        """Recorded seconds of the whole run."""
        return max((t for t, _ in self.events), default=0.0)

    @property
    def finished(self) -> bool:
        return self._next >= len(self.events)

    def advance(self, seconds: float) -> None:
        """Let the viewer's clock run for so many real seconds."""
        self.clock += seconds * self.speed

    def seek(self, clock: float) -> bool:
        """Move to a recorded time. True: it lies behind what was handed out, so the fold must
        start afresh."""
        back = self._next > 0 and clock < self.events[self._next - 1][0]
        self.clock = max(0.0, clock)
        if back:
            self._next = 0
        return back

    def poll(self) -> list[Timed]:
        start = self._next
        while self._next < len(self.events) and self.events[self._next][0] <= self.clock:
            self._next += 1
        return self.events[start : self._next]


def read(path: Path) -> list[Timed]:
    """All events of a run file. Torn and unknown lines are left out. Raises FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(path)
    follow = Follow(path)
    found: list[Timed] = []
    while batch := follow.poll():
        found += batch
    follow.close()
    return found
