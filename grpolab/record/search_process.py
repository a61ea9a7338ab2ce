"""A search in a process of its own, because a regular expression may run forever and a process can
be killed. It writes one JSON line for every answer found, and lines with its progress."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from grpolab.record.index import RunIndex
from grpolab.record.search import Found, Results, Wanted, search

EVERY = 0.15
"""Seconds between two progress lines."""


class _Printing(Results):
    """Results that are printed as they are found."""

    def __init__(self, order: str) -> None:
        super().__init__(order)
        self._printed = 0.0

    def add(self, found: Found) -> None:
        if self.add_kept(found):
            print(json.dumps(["found", *found]), flush=False)
        self.progress()

    def progress(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._printed >= EVERY:
            self._printed = now
            counts = [self.matches, self.seen, self.steps, self.total, self.done]
            print(json.dumps(["so far", *counts]), flush=True)


def take(results: Results, line: bytes) -> None:
    """Add one such line to the results in the process that reads them."""
    try:
        kind, *rest = json.loads(line)
    except (ValueError, TypeError):
        return
    if kind == "found":
        *fields, hit = rest
        results.add(Found(*fields, hit=(hit[0], hit[1])))
    elif kind == "so far":
        results.matches, results.seen, results.steps, results.total, results.done = rest


CPU_SECONDS = 600
"""After so much computing the search ends, wherever its viewer may be."""


def _end_with_the_viewer() -> None:
    """End with the process that asked, even if that is killed: a pattern may run forever, and then
    nothing in this process can look whether anybody still waits."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    except (ImportError, OSError, ValueError):  # Windows; a lower limit already
        pass
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit(1)


def main(arguments: list[str]) -> int:
    _end_with_the_viewer()
    path, asked = arguments
    fields: dict[str, Any] = json.loads(asked)
    wanted = Wanted(**fields)
    results = _Printing(wanted.order)

    def look() -> bool:
        results.progress()
        return False

    index = RunIndex(Path(path))
    while index.read():
        look()
    search(index, wanted, results, look)
    results.progress(at_once=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
