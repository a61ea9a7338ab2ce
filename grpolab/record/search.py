"""Search over all answers of a run: what is wanted, and the answers that are it. No torch here."""

from __future__ import annotations

import heapq
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.index import CHUNK, LaneLog, RunLog

MOST = 3000
"""Answers that one search shows; the others are only counted."""

AROUND = 160
"""Characters of an answer that a list can show of it."""

PATIENCE = 0.05
"""Seconds between two looks at an index that is still being made."""

ORDERS = ("newest", "oldest", "highest reward", "lowest reward", "longest", "shortest")


@dataclass(frozen=True)
class Wanted:
    """A filter; what is None or empty lets everything through. Raises ValueError for a pattern
    that is no regular expression."""

    text: str = ""
    regex: bool = False
    low: float | None = None  # of the reward
    high: float | None = None
    correct: bool | None = None
    finished: bool | None = None  # False: cut at the token limit
    first: int | None = None  # step
    last: int | None = None
    lane: str = ""
    difficulty: str = ""
    order: str = "newest"
    pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern = None
        if self.text:
            try:
                source = self.text if self.regex else re.escape(self.text)
                pattern = re.compile(source, re.IGNORECASE | re.MULTILINE)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"no regular expression: {error}") from None
        object.__setattr__(self, "pattern", pattern)

    def step(self, lane: str, step: int) -> bool:
        """Whether a step can hold answers that are wanted."""
        within = (self.first is None or step >= self.first) and (
            self.last is None or step <= self.last
        )
        return within and self.lane in ("", lane)

    def surely_absent(self, line: bytes) -> bool:
        """Whether a line of JSON cannot have the text, told without parsing it."""
        text = self.text
        if not text or self.regex or not line.isascii():
            return False
        if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
            return False
        return text.lower().encode() not in line.lower() and b"\\u" not in line


def bounds(text: str) -> tuple[float | None, float | None]:
    """A range as a person writes it: `1`, `0.5..1`, `100-200`, `>=1`, `<0`, `300..`. Raises
    ValueError with what is understood."""
    text = text.strip().replace("−", "-")
    number = r"([-+]?(?:\d+\.?\d*|\.\d+))"
    if not text:
        return None, None
    if match := re.fullmatch(rf"{number}?\s*(?:\.\.|–|to)\s*{number}?", text):
        low, high = (float(x) if x else None for x in match.groups())
        return low, high
    if match := re.fullmatch(rf"([<>]=?|[≤≥])\s*{number}", text):
        sign, value = match[1], float(match[2])
        if sign in (">", "<"):  # the value itself is not in it
            value = math.nextafter(value, math.inf if sign == ">" else -math.inf)
        return (value, None) if sign[0] in ">≥" else (None, value)
    if match := re.fullmatch(rf"{number}\s*-\s*{number}?", text):
        return float(match[1]), float(match[2]) if match[2] else None
    if match := re.fullmatch(number, text):
        return float(match[1]), float(match[1])
    raise ValueError(f"{text!r} is no range; write 1, 0.5..1, >=1, <0 or 300..")


class Found(NamedTuple):
    """One answer of a run, with as much of it as a list shows."""

    lane: str
    step: int
    row: int
    group_size: int
    prompt: str
    difficulty: str
    reward: float
    correct: bool
    finished: bool
    length: int
    excerpt: str  # about what matched, or its beginning
    hit: tuple[int, int]  # what matched, within the excerpt

    @property
    def place(self) -> tuple[int, int]:
        """Prompt and answer of the step, counted from 0."""
        return divmod(self.row, max(1, self.group_size))


class Results:
    """What was found so far; filled by one thread, read by another."""

    def __init__(self, order: str = "newest") -> None:
        self.order = order
        self.matches = self.seen = self.steps = self.total = 0
        self.done = False
        self._rows: list[tuple[tuple[float, float, float, str], int, Found]] = []

    def add(self, found: Found) -> None:
        self.add_kept(found)

    def add_kept(self, found: Found) -> bool:
        """Count it, and keep it if it is among the first `MOST`; whether it is."""
        self.matches += 1
        item = (_rank(found, self.order), self.matches, found)
        if len(self._rows) < MOST:
            heapq.heappush(self._rows, item)
        elif item[0] > self._rows[0][0]:
            heapq.heapreplace(self._rows, item)
        else:
            return False
        return True

    def rows(self) -> list[Found]:
        """The best of them, in their order."""
        found = sorted(self._rows.copy(), key=lambda item: item[1])
        return [f for *_, f in sorted(found, key=lambda item: item[0], reverse=True)]


def _rank(found: Found, order: str) -> tuple[float, float, float, str]:
    """What comes first has the higher rank; among equals the newer, then the earlier row."""
    by = {"highest reward": found.reward, "lowest reward": -found.reward, "longest": found.length,
          "shortest": -found.length}.get(order, 0.0)  # fmt: skip
    age = -found.step if order == "oldest" else found.step
    return (by if not math.isnan(by) else -math.inf), age, -found.row, found.lane


class _Step(NamedTuple):
    """A graded step, and its lines in the index."""

    lane: str
    step: int
    rollout: int
    graded: int


def _steps(log: RunLog) -> Iterator[_Step]:
    """The graded steps that are in force."""
    lines = log.lines

    def of(name: str, lane: LaneLog) -> Iterator[_Step]:
        for step, entry in log.rollouts(lane, lines).items():
            if graded := lane.part("graded", entry, lines):
                yield _Step(name, step, lane.rollout_line[entry], graded)

    for name, lane in log.lanes.items():
        yield from of(name, lane)


def indexing(log: RunLog) -> bool:
    """Whether much of the file is not indexed yet; a step that is being written is little."""
    return log.behind() > CHUNK


def search(
    log: RunLog,
    wanted: Wanted,
    results: Results,
    stop: Callable[[], bool] = lambda: False,
    rest: float = 0.0,
) -> None:
    """Fill `results` from all that is indexed; while somebody is still indexing the run, wait for
    that. `stop` is asked between steps; `rest` is how many seconds to lie still after each step for
    each second of work, so that a screen in the same process stays quick. Raises OSError."""
    while indexing(log):
        if stop():
            return
        time.sleep(PATIENCE)
    steps = [s for s in _steps(log) if wanted.step(s.lane, s.step)]
    steps.sort(key=lambda s: (-s.step, s.lane), reverse=wanted.order == "oldest")
    results.total = len(steps)
    for step in steps:
        if stop():
            return
        began = time.monotonic()
        rollout, graded = codec.decode(log.raw(step.rollout)), log.raw(step.graded)
        results.steps += 1
        if rollout is None or not isinstance(rollout[1], ev.RolloutStarted):
            continue
        if wanted.surely_absent(graded):
            results.seen += len(rollout[1].prompts) * rollout[1].group_size
        else:
            for found in _matches(rollout[1], graded, wanted, results):
                results.add(found)
        if rest:
            time.sleep(min(0.02, rest * (time.monotonic() - began)))
    results.done = True


def _matches(
    r: ev.RolloutStarted, line: bytes, wanted: Wanted, results: Results
) -> Iterator[Found]:
    graded = (codec.decode(line) or (0.0, None))[1]
    if not isinstance(graded, ev.Graded):
        return
    size = max(1, r.group_size)
    columns = (graded.text, graded.reward, graded.correct, graded.finished, graded.length)
    for row, (text, reward, correct, finished, length) in enumerate(
        zip(*columns, strict=False)  # a torn or foreign row is left out
    ):
        results.seen += 1
        prompt = row // size
        level = r.difficulty[prompt] if prompt < len(r.difficulty) else ""
        if wanted.correct not in (None, correct) or wanted.finished not in (None, finished):
            continue
        if wanted.difficulty and level != wanted.difficulty:
            continue
        if wanted.low is not None and not reward >= wanted.low:  # NaN is in no range
            continue
        if wanted.high is not None and not reward <= wanted.high:
            continue
        hit = (0, 0)
        if wanted.pattern is not None:
            match = wanted.pattern.search(text)
            if match is None:
                continue
            hit = match.span()
        first = max(0, hit[0] - AROUND // 3)
        excerpt = text[first : first + AROUND]
        within = (hit[0] - first, min(hit[1] - first, len(excerpt)))
        asked = r.prompts[prompt] if prompt < len(r.prompts) else ""
        yield Found(
            graded.lane, graded.step, row, size, asked[:AROUND], level, reward, correct, finished,
            length, ("…" if first else "") + excerpt,
            (within[0] + bool(first), within[1] + bool(first)),
        )  # fmt: skip
