"""A search in a process of its own: a regular expression may run for ever, and a process can be
ended. One JSON line for every answer that is found and for how far the search has come.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from grpolab.record.index import RunLog
from grpolab.record.search import Found, Results, Wanted, search

EVERY = 0.15
"""Seconds between two words on how far it has come."""


class _Telling(Results):
    """Results that are written out as they come."""

    def __init__(self, order: str) -> None:
        super().__init__(order)
        self._told = 0.0

    def add(self, found: Found) -> None:
        if self.add_kept(found):
            print(json.dumps(["found", *found]), flush=False)
        self.tell()

    def tell(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._told >= EVERY:
            self._told = now
            told = [self.matches, self.seen, self.steps, self.total, self.done]
            print(json.dumps(["so far", *told]), flush=True)


def take(results: Results, line: bytes) -> None:
    """Take one such line into the results of the process that reads them."""
    try:
        kind, *rest = json.loads(line)
    except (ValueError, TypeError):
        return
    if kind == "found":
        *fields, hit = rest
        results.add(Found(*fields, hit=(hit[0], hit[1])))
    elif kind == "so far":
        results.matches, results.seen, results.steps, results.total, results.done = rest


def main(arguments: list[str]) -> int:
    path, asked = arguments
    fields: dict[str, Any] = json.loads(asked)
    wanted = Wanted(**fields)
    results = _Telling(wanted.order)

    def look() -> bool:
        results.tell()
        return False

    log = RunLog(Path(path))
    while log.read():
        look()
    search(log, wanted, results, look)
    results.tell(at_once=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
