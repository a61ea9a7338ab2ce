"""Bookmarks of a run: steps with a note, in a small file beside its events.

Viewers write it, live, watching or replaying; the engine never reads it. Where the directory cannot
be written, bookmarks last only as long as the viewer.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "bookmarks.json"
FORMAT = "grpolab.bookmarks/1"
LONGEST_NOTE = 200


@dataclass(frozen=True, order=True)
class Bookmark:
    """A step of a lane, with a note."""

    step: int
    lane: str
    note: str = ""


class Bookmarks:
    """The bookmarks of one run directory, ordered by step. An unreadable file counts as empty."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / FILE
        self.all = sorted(_read(self.path))

    def at(self, step: int, lane: str) -> Bookmark | None:
        return next((b for b in self.all if (b.step, b.lane) == (step, lane)), None)

    def put(self, mark: Bookmark) -> str:
        """Set a bookmark, replacing one at the same step and lane. Returns why the file could not
        be written, or an empty string."""
        mark = Bookmark(mark.step, mark.lane, mark.note[:LONGEST_NOTE])
        others = [b for b in self.all if (b.step, b.lane) != (mark.step, mark.lane)]
        self.all = sorted([*others, mark])
        return self._write()

    def remove(self, mark: Bookmark) -> str:
        self.all = [b for b in self.all if b != mark]
        return self._write()

    def _write(self) -> str:
        draft = self.path.with_name(f".{FILE}.{os.getpid()}")
        data = {"format": FORMAT, "bookmarks": [asdict(b) for b in self.all]}
        try:
            draft.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
            draft.replace(self.path)
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return ""


def _read(path: Path) -> list[Bookmark]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [Bookmark(int(b["step"]), str(b["lane"]), str(b["note"])) for b in data["bookmarks"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
