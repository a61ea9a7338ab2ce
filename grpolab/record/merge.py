"""Several recorded runs merged into one, each run's lanes side by side: what `replay` shows of a
comparison.

It works on the lines of the run files and writes a new run file; the runs are not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from heapq import merge as in_order
from pathlib import Path
from typing import Any

from grpolab.errors import RequestError
from grpolab.record import directory
from grpolab.record.directory import EVENTS

OF_A_LANE = frozenset({
    "lane", "rollout", "graded", "tokens", "after", "step", "eval", "switch", "set", "critic",
    "kl-bench", "chat",
})  # fmt: skip
"""Kinds of events that are merged; the others are about one engine process."""

_OF_SEED = re.compile(r"seed-(\d+)")

MOST_WITH_TOKENS = 8
"""With more runs than this, per-token channels are not merged: they are most of the data."""


def runs_of(refs: Sequence[str]) -> list[Path]:
    """The runs that are named; of a folder of runs, such as a comparison's, all that have begun.
    Raises RequestError."""
    found: list[Path] = []
    for ref in refs:
        inside = _inside(ref)
        found += inside or [directory.find(ref, shipped=True)]
    return list(dict.fromkeys(found))


def _inside(ref: str) -> list[Path]:
    for folder in (Path(ref), directory.RUNS / ref):
        if folder.is_dir() and not (folder / EVENTS).exists():
            return sorted(p.parent for p in folder.glob(f"*/{EVENTS}"))
    return []


def merge(runs: Sequence[Path], folder: Path) -> Path:
    """Write the runs into one run file in `folder`. Raises RequestError if none has started."""
    begun = [run for run in runs if directory.opening(run) is not None]
    if not begun:
        raise RequestError(f"nothing is recorded in any of the {len(runs)} runs")
    names = names_of(begun)
    kinds = OF_A_LANE if len(begun) <= MOST_WITH_TOKENS else OF_A_LANE - {"tokens", "after"}
    read = [_read(run, name, kinds) for run, name in zip(begun, names, strict=True)]
    opened = [
        r for _, events, _ in read for _, r in events if r["kind"] == "lane" and not r["step"]
    ]
    heads = [head for head, _, _ in read]
    first = heads[0] | {"steps": max(head["steps"] for head in heads)}
    last = max((t for _, _, t in read), default=0.0)
    with (folder / EVENTS).open("w", encoding="utf-8") as file:
        file.write(_line(first))
        for lane in opened:  # in the order in which the runs were named
            file.write(_line(lane | {"t": 0.0}))
        for _, record in in_order(*(events for _, events, _ in read), key=lambda e: e[0]):
            file.write(_line(record))
        file.write(_line({"t": last, "kind": "end", "step": first["steps"], "status": "done"}))
    return folder


def names_of(runs: Sequence[Path]) -> list[str]:
    """Names for the runs' lanes: the directories, with their parents where two are the same."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.resolve().parent.name}/{run.resolve().name}" for run in runs]
    return [n if names.count(n) == 1 else f"{n}#{i}" for i, n in enumerate(names, 1)]


Events = list[tuple[float, dict[str, Any]]]


def _read(run: Path, name: str, kinds: frozenset[str]) -> tuple[dict[str, Any], Events, float]:
    """A run's first event, the events of its lanes with their new names, and its last time."""
    head: dict[str, Any] = {}
    kept: Events = []
    last = 0.0
    lanes = _lanes(run)
    longer: dict[int, int] = {}  # the run's length in steps, by the step at which it was extended
    for record in _records(run, kinds | {"run", "resumed", "extended"}):
        kind, t = record["kind"], float(record["t"])
        last = max(last, t)
        if kind == "run":
            head = head or record
        elif kind == "resumed":  # later steps were discarded, and recorded again
            kept = [(at, r) for at, r in kept if r["step"] <= record["step"]]
            longer = {at: steps for at, steps in longer.items() if at <= record["step"]}
        elif kind == "extended":
            longer[record["step"]] = record["after"]
        else:
            lane = record["lane"]
            record["lane"] = _renamed(name, lane, len(lanes))
            if record.get("parent"):
                record["parent"] = _renamed(name, record["parent"], len(lanes))
            kept.append((t, record))
    if head:
        head["steps"] = max(head["steps"], *longer.values(), 0)
    return head, sorted(kept, key=lambda e: e[0]), last


def _renamed(run: str, lane: str, lanes: int) -> str:
    """A lane's name beside those of other runs. One of a run `seed-3`, as a comparison on the
    screen has them, ends with the seed: such lanes are seeds of one configuration."""
    if lanes == 1:
        return run
    seed = _OF_SEED.fullmatch(run)
    return f"{lane}-{seed[1]}" if seed else f"{run}/{lane}"


def _lanes(run: Path) -> set[str]:
    return {r["lane"] for r in _records(run, frozenset({"lane"}))}


def _records(run: Path, kinds: frozenset[str]) -> Iterator[dict[str, Any]]:
    """The complete lines of these kinds; others are not parsed."""
    marks = [f'"kind":"{kind}"'.encode() for kind in kinds]
    with (run / EVENTS).open("rb") as file:
        for line in file:
            if not any(mark in line[:80] for mark in marks):
                continue
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("kind") in kinds:
                yield record


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
