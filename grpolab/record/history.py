"""A lane's finished steps in compact columns: about two hundred bytes per step, where the events
themselves take several thousand. The newest steps are kept as events, older ones are read from the
run file when they are asked for.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Literal, overload

from grpolab.record.columns import BLOCK, Column, Table
from grpolab.record.events import StepDone

KEPT_STEPS = 64
"""Steps of a lane whose event stays in memory."""

LARGEST = 1 << 48
"""Larger counts are taken to be damaged: thousands of this size still add up in 64 bits."""

Axis = Literal["step", "update", "sample", "token", "time"]
Count = Literal["update", "sample", "token"]

AXES: tuple[Axis, ...] = ("step", "update", "sample", "token", "time")
"""The x axes of curves: the step's number; optimizer steps, answers and answer tokens so far;
recorded seconds since the start of the run."""


def _whole(value: Any) -> int:
    """A count, or 0 if it is none: a run file may contain anything."""
    return int(value) if isinstance(value, int | float) and abs(value) < LARGEST else 0


def _moved(rows: array[int] | range, by: int) -> array[int] | range:
    """All rows, shifted."""
    if isinstance(rows, range):
        return range(rows.start + by, rows.stop + by)
    return array("I", [n + by for n in rows]) if by else rows


class Samples:
    """Counts the answers that a lane's steps sample. Replaced groups count, and so do the rollouts
    of value pretraining."""

    def __init__(self) -> None:
        self._shape = (0, 0)  # of the newest rollout: prompts, group size
        self._pretraining: set[str] = set()  # a resumed run may record the same one twice

    def rollout(self, prompts: int, group_size: int) -> None:
        """A rollout begins; the last one of a step has all its prompts."""
        self._shape = prompts, group_size

    def sampling(self, detail: str) -> None:
        """A sampling phase begins; `detail` says for what."""
        if detail.startswith("value pretraining"):
            self._pretraining.add(detail)

    def done(self, metrics: Mapping[str, Any]) -> int:
        """The number of answers of the step that is finished now."""
        prompts, group_size = self._shape
        groups = prompts * (1 + len(self._pretraining)) + _whole(metrics.get("groups_replaced"))
        self._shape, self._pretraining = (0, group_size), set()
        return groups * group_size


class Steps(Sequence[StepDone]):
    """A lane's finished steps, oldest first; row 0 is the first of them.

    An item is the step's event. For older steps it is read from the run file if there is one, else
    rebuilt from the columns, without digest and `memory_phases`.
    """

    def __init__(self, lane: str = "") -> None:
        self.lane = lane
        self.fetch: Callable[[int], StepDone | None] | None = None  # a step's event from the file
        self.metrics: dict[str, Column] = {}
        self.seconds: dict[str, Column] = {}
        self.memory: dict[str, Column] = {}
        self.counts: dict[str, Column] = {}  # update, sample, token; and the peak in bytes
        self.phases: dict[str, tuple[int, dict[str, int]]] = {}  # row and bytes, as last measured
        self._algorithm: list[tuple[int, str]] = []  # from which row on
        self._step = array("i")
        self._time = array("d")
        self._so_far: dict[str, array[int]] = {}  # see axis
        self._recent: deque[StepDone] = deque(maxlen=KEPT_STEPS)
        self._tables: list[Table] = []  # of each of `_columns`

    # --- adding and removing steps ---

    def append(self, done: StepDone, time: float = 0.0, samples: int = 0) -> None:
        """Add a step that finished at a recorded time and sampled `samples` answers."""
        row = len(self._step)
        if not self._tables:
            self._tables = [Table(columns) for columns in self._columns()]
        counts = {"update": done.updates, "sample": samples, "token": done.tokens,
                  "peak": done.peak_memory}  # fmt: skip
        every = done.metrics, done.seconds, done.memory, counts
        for table, values in zip(self._tables, every, strict=True):
            table.append(row, values)
        if not row % BLOCK:
            for table in self._tables:
                table.pack()
        for phase, owners in done.memory_phases.items():
            self.phases[phase] = row, owners
        self._time.append(time)
        if not self._algorithm or self._algorithm[-1][1] != done.algorithm:
            self._algorithm.append((row, done.algorithm))
        self._recent.append(done)
        self._step.append(done.step)  # last: readers in other threads count these

    def extend(self, other: Steps, start: int, stop: int) -> None:
        """Append rows of another history. Cheap: the columns share their packed blocks."""
        if stop <= start:
            return
        self._tables = []
        row = len(self._step)
        for mine, theirs in zip(self._columns(), other._columns(), strict=True):
            for name, column in list(theirs.items()):
                a, b = bisect_left(column.rows, start), bisect_left(column.rows, stop)
                if a == b:
                    continue
                rows = _moved(column.rows[a:b], row - start)
                mine.setdefault(name, Column()).extend(rows, column, a, b)
        self._time.extend(other._time[start:stop])
        changes = list(other._algorithm)
        first = bisect_right(changes, start, key=lambda c: c[0]) - 1
        for at, name in changes[first : bisect_left(changes, stop, key=lambda c: c[0])]:
            if not self._algorithm or self._algorithm[-1][1] != name:
                self._algorithm.append((row + max(0, at - start), name))
        self._recent.clear()
        self._step.extend(other._step[start:stop])

    def cut(self, step: int) -> None:
        """Remove the steps after this one."""
        self._so_far, self._tables = {}, []
        rows = bisect_right(self._step, step)
        gone = len(self._step) - rows
        for columns in self._columns():
            for name in list(columns):
                columns[name].cut(rows)
                if not columns[name].rows:
                    del columns[name]
        self._step, self._time = self._step[:rows], self._time[:rows]
        self._algorithm = [c for c in self._algorithm if c[0] < rows]
        for _ in range(min(gone, len(self._recent))):
            self._recent.pop()
        self.phases = {name: seen for name, seen in self.phases.items() if seen[0] < rows}
        for row, done in enumerate(self._recent, rows - len(self._recent)):
            self.phases |= {name: (row, owners) for name, owners in done.memory_phases.items()}

    def _columns(self) -> tuple[dict[str, Column], ...]:
        return self.metrics, self.seconds, self.memory, self.counts

    # --- reading ---

    def __len__(self) -> int:
        return len(self._step)

    @overload
    def __getitem__(self, at: int) -> StepDone: ...
    @overload
    def __getitem__(self, at: slice) -> list[StepDone]: ...
    def __getitem__(self, at: int | slice) -> StepDone | list[StepDone]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        row = at + len(self) if at < 0 else at
        if not 0 <= row < len(self):
            raise IndexError(at)
        recent = row - (len(self) - len(self._recent))
        if recent >= 0:
            return self._recent[recent]
        found = self.fetch(self._step[row]) if self.fetch else None
        return found or self._made(row)

    def __iter__(self) -> Iterator[StepDone]:
        """All steps; older ones are rebuilt from the columns, without reading the file."""
        whole = len(self) - len(self._recent)
        yield from map(self._made, range(whole))
        yield from islice(self._recent, 0, None)

    def _made(self, row: int) -> StepDone:
        def values(columns: dict[str, Column]) -> dict[str, float]:
            found = ((name, column.at(row)) for name, column in columns.items())
            return {name: value for name, value in found if value is not None}

        counts = {name: _whole(n) for name, n in values(self.counts).items()}
        return StepDone(
            step=self._step[row],
            lane=self.lane,
            algorithm=self.algorithm(row),
            metrics=values(self.metrics),
            seconds=values(self.seconds),
            updates=counts["update"],
            tokens=counts["token"],
            memory={name: int(n) for name, n in values(self.memory).items()},
            peak_memory=counts["peak"],
            digest="",
        )

    def algorithm(self, row: int) -> str:
        """The algorithm with which a row's step was computed."""
        at = bisect_right(self._algorithm, row, key=lambda c: c[0]) - 1
        return self._algorithm[at][1] if at >= 0 else ""

    def row(self, step: int) -> int:
        """The row of the newest step up to this one; −1 if there is none."""
        return bisect_right(self._step, step) - 1

    def upto(self, step: int) -> StepDone | None:
        """The newest step up to this one."""
        row = self.row(step)
        return self[row] if row >= 0 else None

    def of(self, step: int) -> StepDone | None:
        """Exactly this step, or None."""
        row = self.row(step)
        return self[row] if row >= 0 and self._step[row] == step else None

    def axis(self, name: Axis) -> array[Any]:
        """The x of each row on an axis, rising. Do not change it."""
        if name == "step":
            return self._step
        if name == "time":
            return self._time
        so_far = self._so_far.setdefault(name, array("q"))
        if len(so_far) < len(self):
            more = map(_whole, self.counts[name].part(len(so_far), len(self)))
            before = so_far[-1] if so_far else 0
            so_far.extend(islice(accumulate(more, initial=before), 1, None))
        return so_far

    def series(self, metric: str, axis: Axis = "step") -> tuple[array[Any], array[Any]]:
        """x and values of one metric where it was measured. Do not change them."""
        column, x = self.metrics.get(metric), self.axis(axis)
        if column is None:
            return array("d"), array("d")
        return x if len(column) == len(x) else self.places(column, axis), column.values

    def places(self, column: Column, axis: Axis, start: int = 0) -> array[Any]:
        """x of a column's values, from the `start`-th on."""
        x, rows = self.axis(axis), column.rows[start:]
        if isinstance(rows, range):
            return x[rows.start : rows.stop]
        return array(x.typecode, [x[row] for row in rows])

    def between(self, metric: str, after: int, upto: int, most: int | None = None) -> array[float]:
        """The values of the steps after one and up to another; at most the first `most`."""
        column = self.metrics.get(metric)
        if column is None:
            return array("d")
        start, stop = (bisect_left(column.rows, self.row(step) + 1) for step in (after, upto))
        return column.part(start, stop if most is None else min(stop, start + most))

    def total(self, name: Count) -> int:
        """The sum over all steps."""
        column = self.counts.get(name)
        return sum(map(_whole, column.part())) if column is not None else 0

    @property
    def peak(self) -> int:
        """The highest recorded peak memory in bytes."""
        column = self.counts.get("peak")
        return max(map(_whole, column.part()), default=0) if column is not None else 0

    def spent(self) -> dict[str, float]:
        """Seconds of all steps by stage."""
        return {stage: sum(column.part()) for stage, column in self.seconds.items()}
