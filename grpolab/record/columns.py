"""The measurements of a lane's steps as columns of floats, older values packed.

A `Column` is one quantity, which some rows may lack. A `Table` appends rows to a set of columns.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

from grpolab.record.float_codec import Block, one, pack, part, unpack

BLOCK = 512
"""Values that are packed together. The newest are not packed: a column grows at its end."""


class _Values(NamedTuple):
    """A column's values. Replaced as a whole, because another thread may be reading."""

    blocks: tuple[Block, ...]
    ends: array[int]  # for each block, the number of values up to its end
    newest: array[float]

    def cut(self, start: int, stop: int) -> _Values:
        """The values from `start` to `stop`."""
        if start >= stop:
            return _Values((), array("I"), array("d"))
        first, last = bisect_right(self.ends, start), bisect_left(self.ends, stop)
        before = self.ends[first - 1] if first else 0
        blocks, ends = [*self.blocks[first : last + 1]], self.ends[first : last + 1]
        if blocks and stop < ends[-1]:
            blocks[-1] = part(blocks[-1], 0, stop - self.ends[last - 1] if last else stop)
        if blocks and before < start:
            blocks[0] = part(blocks[0], start - before)
        ends = array("I", [min(end, stop) - start for end in ends])
        loose = self.ends[-1] if self.ends else 0
        newest = self.newest[max(start - loose, 0) : max(stop - loose, 0)]
        return _Values(tuple(blocks), ends, newest)


class Column:
    """One quantity and the rows in which it was measured."""

    __slots__ = ("_data", "_rows", "_start", "_unpacked")

    def __init__(self) -> None:
        self._data = _Values((), array("I"), array("d"))
        self._unpacked: array[float] | None = None
        self._start = 0  # the first row; without `_rows` the others follow without a gap
        self._rows: array[int] | None = None

    def __len__(self) -> int:
        _, ends, newest = self._data
        return (ends[-1] if ends else 0) + len(newest)

    @property
    def rows(self) -> array[int] | range:
        """The row of each value, rising."""
        if self._rows is not None:
            return self._rows
        return range(self._start, self._start + len(self))

    @property
    def plain(self) -> bool:
        """Whether it has no gaps."""
        return self._rows is None

    @property
    def newest(self) -> array[float]:
        """The values that are not packed yet; append to them. A new array once they are packed."""
        return self._data.newest

    @property
    def values(self) -> array[float]:
        """All values; do not change them. They stay unpacked from now on, for a curve that is drawn
        repeatedly: it gets the same array, only longer, until something is cut off."""
        known = self._unpacked
        if known is None:
            known = self._unpacked = array("d")
        if len(known) < len(self):
            known.extend(self.part(len(known)))
        return known

    def part(self, start: int = 0, stop: int | None = None) -> array[float]:
        """The values from `start` to `stop`."""
        packed = self._data.cut(start, len(self) if stop is None else stop)
        found = array("d")
        for block, end in zip(packed.blocks, packed.ends, strict=True):
            found.extend(unpack(block, end - len(found)))
        found.extend(packed.newest)
        return found

    def add(self, row: int, value: Any) -> None:
        if self._rows is None and row != self._start + len(self):
            self._open_gap(row)
        try:
            self.newest.append(value)
        except (TypeError, OverflowError):  # not a number
            self.newest.append(float("nan"))
        if self._rows is not None:
            self._rows.append(row)

    def extend(self, rows: array[int] | range, other: Column, start: int, stop: int) -> None:
        """Append values `start` to `stop` of another column, in these rows. Blocks are shared."""
        if self._rows is None and rows[:1]:
            if isinstance(rows, range) and not len(self):
                self._start = rows[0]
            elif not isinstance(rows, range) or rows[0] != self._start + len(self):
                self._rows = array("I", self.rows)
        if stop - start < BLOCK // 4:  # too few for a block of their own
            self.newest.extend(other.part(start, stop))
        else:
            self._pack()
            mine, theirs, n = self._data, other._data.cut(start, stop), len(self)
            ends = mine.ends + array("I", [end + n for end in theirs.ends])
            self._data = _Values(mine.blocks + theirs.blocks, ends, theirs.newest)
        if self._rows is not None:
            self._rows.extend(rows)
        self.pack()

    def pack(self) -> None:
        """Pack the newest values if there are enough for a block."""
        if len(self.newest) >= BLOCK:
            self._pack()

    def _pack(self) -> None:
        blocks, ends, newest = self._data
        if newest:
            ends = ends + array("I", [len(self)])
            self._data = _Values((*blocks, pack(newest)), ends, array("d"))

    def _open_gap(self, row: int) -> None:
        """There is a gap before this row: from now on rows are stored one by one."""
        if len(self):
            self._rows = array("I", self.rows)
        else:
            self._start = row

    def at(self, row: int) -> float | None:
        """The value of a row; None if it was not measured."""
        rows = self.rows
        i = row - self._start if isinstance(rows, range) else bisect_left(rows, row)
        if not 0 <= i < len(rows) or rows[i] != row:
            return None
        blocks, ends, newest = self._data
        k = bisect_right(ends, i)
        i -= ends[k - 1] if k else 0
        return one(blocks[k], i) if k < len(blocks) else newest[i]

    def cut(self, rows: int) -> None:
        """Keep the values of the first `rows` rows."""
        n = bisect_left(self.rows, rows)
        # a new array, so that users of the old one notice
        self._data, self._unpacked = self._data.cut(0, n), None
        self._rows = None if self._rows is None else self._rows[:n]


class _Shape:
    """How to append a row that measured these quantities."""

    __slots__ = ("appends", "columns", "plain", "rows")

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.appends = [column.newest.append for column in columns]
        self.plain = frozenset(id(column) for column in columns if column.plain)
        self.rows = [column.rows.append for column in columns if isinstance(column.rows, array)]


class Table:
    """Appends rows to columns by name. Nearly every row has the same quantities as an earlier one,
    so how to append it is cached."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self._columns = columns
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._newest: _Shape | None = None

    def append(self, row: int, values: Mapping[str, Any]) -> None:
        """Append the next row."""
        shape, newest = self._shapes.get(tuple(values)), self._newest
        if shape is None or (
            shape is not newest and (newest is None or shape.plain != newest.plain)
        ):
            self._first(row, values)
            return
        try:
            for append, value in zip(shape.appends, values.values(), strict=True):
                append(value)
        except (TypeError, OverflowError):  # one of them is not a number
            for column in shape.columns:
                column.cut(row)
            self._shapes = {}
            self._first(row, values)
            return
        for append in shape.rows:
            append(row)
        self._newest = shape

    def pack(self) -> None:
        """Pack the newest values of all columns."""
        for column in self._columns.values():
            column.pack()
        self._shapes = {}  # they refer to the arrays before packing

    def _first(self, row: int, values: Mapping[str, Any]) -> None:
        """A row with other quantities than any before, or than the previous one."""
        for name in values:
            if name not in self._columns:
                self._columns[name] = Column()
        own = [self._columns[name] for name in values]
        plain = [column.plain for column in own]
        for column, value in zip(own, values.values(), strict=True):
            column.add(row, value)
        if plain != [column.plain for column in own]:
            self._shapes = {}  # they expect columns without gaps
        self._newest = self._shapes[tuple(values)] = _Shape(own)
