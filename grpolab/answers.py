"""All answers of a run, read from its file where they are wanted: an index of the steps, and one
step's rollout by its place in the file. No torch here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from grpolab import events as ev
from grpolab.state import RolloutView

KEPT = 8
"""Rollouts read from the file that are remembered."""

_HEAD = re.compile(
    rb'\{"t":[-+.\deE]+,"kind":"(rollout|graded|tokens|after|resumed)","step":(\d+)(?:,"lane":"((?:[^"\\]|\\.)*)")?'
)
"""How a line begins that `events.encode` wrote, so that most lines need not be parsed."""

PARTS = ("graded", "tokens", "after")
_KINDS = (b'"rollout"', b'"graded"', b'"tokens"', b'"after"', b'"resumed"')


@dataclass
class Entry:
    """Where one lane's step stands in the file: offsets of its lines, −1 while not written."""

    lane: str
    step: int
    rollout: int
    graded: int = -1
    tokens: int = -1
    after: int = -1


class Archive:
    """A run file's steps. `update` reads on from where it stopped, so a file that still grows is
    followed; it and `load` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0  # bytes
        self.size = 0
        self._entries: dict[tuple[str, int], Entry] = {}
        self._loaded: dict[tuple[str, int], RolloutView] = {}
        self._lock = Lock()

    def entries(self) -> list[Entry]:
        """All graded steps, the newest first."""
        with self._lock:
            return sorted((e for e in self._entries.values() if e.graded >= 0), key=_age)

    def update(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Take in what was appended since. `stop` is asked between lines. Raises OSError."""
        with self._lock, self.path.open("rb") as file:
            self.size = file.seek(0, 2)
            if self.size < self.read:  # another file by now
                self.read, self._entries, self._loaded = 0, {}, {}
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n") or stop():
                    return
                self._take(line, self.read)
                self.read += len(line)

    def _take(self, line: bytes, at: int) -> None:
        head = _HEAD.match(line)
        if head is not None and (head[3] is not None or head[1] == b"resumed"):
            kind, step = head[1].decode(), int(head[2])
            lane = (head[3] or b"").decode("utf-8", "replace")
            if "\\" in lane:
                lane = _lane(line)
        elif any(kind in line[:200] for kind in _KINDS) and (event := ev.decode(line)) is not None:
            kind, step = event[1].kind, getattr(event[1], "step", 0)  # somebody else wrote it
            lane = getattr(event[1], "lane", "")
        else:
            return
        if kind == "resumed":
            self._entries = {k: e for k, e in self._entries.items() if e.step <= step}
            self._loaded = {k: r for k, r in self._loaded.items() if k[1] <= step}
        elif kind == "rollout":
            self._entries[lane, step] = Entry(lane, step, at)
        elif kind in PARTS and (entry := self._entries.get((lane, step))) is not None:
            self._loaded.pop((lane, step), None)  # there is more of it now
            setattr(entry, kind, at)

    def lines(self, entry: Entry) -> Iterator[bytes]:
        """The step's lines: its prompts, its grades, its tokens, and these after the updates;
        without those not written yet."""
        with self.path.open("rb") as file:
            for at in (entry.rollout, entry.graded, entry.tokens, entry.after):
                if at >= 0:
                    file.seek(at)
                    yield file.readline()

    def load(self, lane: str, step: int, whole: bool = True) -> RolloutView | None:
        """One step's answers, as they would stand in the state; `whole`: with their tokens. None
        where the file has no such step, or its lines cannot be read."""
        self.update()
        known = self._loaded.get((lane, step))
        if known is not None and (known.tokens is not None or not whole):
            return known
        entry = self._entries.get((lane, step))
        view = self._view(entry, whole) if entry is not None else None
        if view is not None:
            self._loaded[lane, step] = view
            while len(self._loaded) > KEPT:
                del self._loaded[next(iter(self._loaded))]
        return view

    def _view(self, entry: Entry, whole: bool) -> RolloutView | None:
        lines = self.lines(entry if whole else replace(entry, tokens=-1, after=-1))
        first, *more = ((ev.decode(line) or (0.0, None))[1] for line in lines)
        if not isinstance(first, ev.RolloutStarted):
            return None
        return RolloutView.of(first, *(event for event in more if event is not None))


def _age(entry: Entry) -> tuple[int, str]:
    return -entry.step, entry.lane


def _lane(line: bytes) -> str:
    event = ev.decode(line)
    return str(getattr(event[1], "lane", "")) if event is not None else ""
