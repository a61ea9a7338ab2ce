"""Where the lab's events come from, and who runs the training: one face for live, watched and
replayed runs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from grpolab.events import LensMade, RolloutStarted, StepDone
from grpolab.feed import Follow, Replay, Timed, read
from grpolab.state import LabState, RolloutView

Mode = Literal["live", "watch", "replay"]

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Engine(Protocol):
    """The running engine, as far as the screen needs it."""

    def ready(self) -> Path:
        """Wait until it has accepted what was asked of it; the run directory."""
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
        """End it now."""
        ...

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of what it printed."""
        ...


class Source(Protocol):
    mode: Mode
    run_dir: Path | None  # known at the latest when it is loaded

    def load(self) -> None:
        """Slow preparation, done off the screen's thread."""
        ...

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        """Events due after so many more real seconds; True: start the fold afresh before them."""
        ...

    def recall(self, lane: str, step: int) -> RolloutView | None:
        """A step's rollout that the fold has let go of."""
        ...

    def close(self) -> None: ...


class Following:
    """A run file that somebody is writing; `find` gives its directory where it is not known yet."""

    def __init__(
        self, run_dir: Path | None, mode: Mode, find: Callable[[], Path] | None = None
    ) -> None:
        self.mode: Mode = mode
        self.find = find
        self.run_dir = run_dir
        self.follow = Follow(run_dir / "events.jsonl") if run_dir else None

    def load(self) -> None:
        if self.run_dir is None and self.find is not None:
            self.run_dir = self.find()
            self.follow = Follow(self.run_dir / "events.jsonl")

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        return False, self.follow.poll() if self.follow else []

    def recall(self, lane: str, step: int) -> RolloutView | None:
        """A step's rollout from the file, however long ago it was."""
        found = self.follow.recall(lane, step) if self.follow else []
        begun = [e for e in found if isinstance(e, RolloutStarted)]
        return RolloutView.of(begun[0], *found) if begun else None

    def close(self) -> None:
        if self.follow:
            self.follow.close()


class Playing:
    """A recorded run on a clock that can be stopped, sped up, and moved from step to step."""

    mode: Mode = "replay"

    def __init__(self, run_dir: Path, speed: float = 1.0) -> None:
        self.run_dir: Path | None = run_dir
        self.path = run_dir / "events.jsonl"
        self.speed = speed
        self.playing = True
        self.replay: Replay | None = None
        self._restart = False
        self._ends: list[float] = []  # when each step was finished
        self.whole: LabState | None = None  # what the run's changes tell, once somebody asked
        self.steps: dict[int, float] = {}  # when each was, by its number, in every lane
        self._start = 0.0

    def load(self) -> None:
        if self.replay is None:
            self._set(read(self.path))

    def _set(self, events: list[Timed]) -> None:
        # the clock begins where there is something to see, not while libraries were being loaded
        self._start = next((t for t, e in events if e.kind == "rollout"), 0.0)
        self._ends = sorted({t for t, e in events if e.kind == "step"})
        self.steps = {e.step: t for t, e in events if isinstance(e, StepDone)}
        replay = Replay(events, self.speed)
        replay.clock = self._start
        self.replay = replay

    def poll(self, seconds: float) -> tuple[bool, list[Timed]]:
        if self.replay is None:
            return False, []
        if self.playing:
            self.replay.speed = self.speed
            self.replay.advance(seconds)
            self.replay.clock = min(self.replay.clock, self.replay.length)
        restart, self._restart = self._restart, False
        return restart, self.replay.poll()

    def recall(self, lane: str, step: int) -> RolloutView | None:
        """Nothing beyond what the fold keeps: the clock goes there instead."""
        return None

    def close(self) -> None:
        pass

    def lens(self, lane: str, step: int) -> LensMade | None:
        """Whether a step was looked at through the lens, be it later than the clock stands."""
        events = self.replay.events if self.replay else []
        made = (e for _, e in events if isinstance(e, LensMade))
        return next((e for e in made if (e.lane, e.step) == (lane, step)), None)

    @property
    def clock(self) -> float:
        return self.replay.clock if self.replay else 0.0

    @property
    def length(self) -> float:
        return self.replay.length if self.replay else 0.0

    @property
    def over(self) -> bool:
        return self.replay is not None and self.replay.finished

    def toggle(self) -> None:
        """Play or pause; at the end, play from the start."""
        if self.over and not self.playing:
            self.seek(self._start)
        self.playing = not self.playing

    def faster(self, by: int) -> None:
        at = min(range(len(SPEEDS)), key=lambda i: abs(SPEEDS[i] - self.speed))
        self.speed = SPEEDS[max(0, min(len(SPEEDS) - 1, at + by))]

    def scrub(self, by: int) -> None:
        """So many finished steps on or back; the clock stops there."""
        self.playing = False
        if not self._ends:
            return
        if by > 0:
            at = bisect_right(self._ends, self.clock) + by - 1
        else:
            at = bisect_left(self._ends, self.clock) + by
        self.seek(self._start if at < 0 else self._ends[min(at, len(self._ends) - 1)])

    def go(self, step: int) -> None:
        """To where a step is finished, or the nearest before it; the clock stops there."""
        self.playing = False
        times = [t for s, t in self.steps.items() if s <= step]
        self.seek(max(times, default=self._start) if step > 0 else self._start)

    def home(self) -> None:
        self.seek(self._start)

    def end(self) -> None:
        self.playing = False
        self.seek(self.length)

    def seek(self, clock: float) -> None:
        if self.replay is not None:
            self._restart |= self.replay.seek(clock)
