"""Events out of a run file, whole or while it is still being written."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from grpolab.record.codec import decode
from grpolab.record.events import Event

Timed = tuple[float, Event]


class Follow:
    """Tails a run file by whole lines; it may not exist yet. A torn last line waits for its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: io.BufferedReader | None = None
        self._rest = b""

    def poll(self, limit: int = 1 << 22) -> list[Timed]:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return []
        while chunk := self._file.read(limit):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if found := [event for line in lines if (event := decode(line)) is not None]:
                return found
        return []

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def stream(path: Path) -> Iterator[list[Timed]]:
    """The events of a run file, some at a time. Torn and unknown lines are left out. Raises
    FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(path)
    follow = Follow(path)
    try:
        while batch := follow.poll():
            yield batch
    finally:
        follow.close()


def read(path: Path) -> list[Timed]:
    """All events of a run file, see `stream`. Raises FileNotFoundError."""
    return [timed for batch in stream(path) for timed in batch]
