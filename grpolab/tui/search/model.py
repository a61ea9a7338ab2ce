"""A search: the filter as typed and chosen, and the results so far."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grpolab.launch import environment, python
from grpolab.record.search import ORDERS, Found, Results, Wanted, bounds
from grpolab.record.search_process import take
from grpolab.tui import source

LINE = 1 << 22
"""Most bytes of one line from the search process."""


@dataclass
class Finding:
    """The fields of the filter, and the results of the last search started."""

    text: str = ""
    regex: bool = False
    verdict: str = "any"  # right, wrong
    ended: str = "any"  # finished, cut
    reward: str = ""
    steps: str = ""
    lane: str = "any"
    level: str = "any"  # the prompt's difficulty
    order: str = ORDERS[0]
    results: Results = field(default_factory=Results)
    at: int = 0
    problem: str = ""
    running: bool = False
    levels: set[str] = field(default_factory=set)  # difficulties seen so far

    def wanted(self) -> Wanted:
        """The filter. Raises ValueError with one line on a field that cannot be parsed."""
        low, high = bounds(self.reward)
        first, last = bounds(self.steps)
        return Wanted(
            text=self.text,
            regex=self.regex and bool(self.text),
            low=low,
            high=high,
            correct=None if self.verdict == "any" else self.verdict == "right",
            finished=None if self.ended == "any" else self.ended == "finished",
            first=None if first is None else int(-(-first // 1)),
            last=None if last is None else int(last // 1),
            lane="" if self.lane == "any" else self.lane,
            difficulty="" if self.level == "any" else self.level,
            order=self.order,
        )

    @property
    def narrow(self) -> bool:
        """Whether the filter excludes any answer."""
        try:
            return self.wanted() != Wanted(order=self.order)
        except ValueError:  # a field is half typed
            return True

    def rows(self) -> list[Found]:
        """The results in their order."""
        found = self.results.rows()
        self.levels.update(f.difficulty for f in found if f.difficulty)
        return found


def cycle(now: str, choices: list[str]) -> str:
    return choices[(choices.index(now) + 1) % len(choices)] if now in choices else choices[0]


async def in_a_process(path: Path, wanted: Wanted, results: Results) -> None:
    """Search in a process of its own, which is ended when this ends or is canceled. Raises
    ValueError with one line on what went wrong."""
    asked: dict[str, Any] = asdict(wanted)
    del asked["pattern"]
    command = python("-m", "grpolab.record.search_process", str(path), json.dumps(asked))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment(), limit=LINE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"the search cannot be started: {error}") from None
    assert process.stdout is not None and process.stderr is not None
    try:
        while line := await process.stdout.readline():
            take(results, line)
        errors = await process.stderr.read()
        if await process.wait():
            lines = errors.decode("utf-8", "replace").strip().splitlines()
            raise ValueError(lines[-1] if lines else "the search ended early")
    finally:
        await source.end(process)
