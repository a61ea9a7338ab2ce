"""Numbers in columns, some of which lack rows, and the quick way of a row into them."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any, NamedTuple

# --- packed ---
# Floats in few bytes, and not a bit of them lost. Most bytes of what one quantity measures in a
# row are alike: of counts and of what was computed in single precision the lower ones are 0, and
# the upper ones hold the sign and half of the exponent. So the first bytes of all numbers lie
# side by side, then the second ones, and so on; where all of a place are the same, one is kept.

SIZE = 8
"""Bytes of a float."""

Block = tuple[bytes, ...]
"""Some numbers: for each place of a byte, all numbers' bytes, or the one that they share."""


def pack(values: array[float]) -> Block:
    raw, count = values.tobytes(), len(values)
    places = (raw[place::SIZE] for place in range(SIZE))
    return tuple(own[:1] if own == own[:1] * count else own for own in places)


def unpack(block: Block, count: int) -> array[float]:
    """Its numbers, of which there are so many."""
    raw = bytearray(SIZE * count)
    for place, own in enumerate(block):
        raw[place::SIZE] = own if len(own) == count else own * count
    return array("d", bytes(raw))


def part(block: Block, start: int, stop: int | None = None) -> Block:
    """Some of its numbers, as a block."""
    return tuple(own if len(own) == 1 else own[start:stop] for own in block)


def one(block: Block, at: int) -> float:
    """One of its numbers."""
    return struct.unpack("d", bytes([own[at] if len(own) > 1 else own[0] for own in block]))[0]


BLOCK = 512
"""Values that are packed together. The newest ones are not: a column grows at its end."""


class _Held(NamedTuple):
    """A column's values. Replaced as one: another thread may be reading."""

    blocks: tuple[Block, ...]
    ends: array[int]  # of each block: how many values lie in it and before it
    newest: array[float]

    def cut(self, start: int, stop: int) -> _Held:
        """Some of the values."""
        if start >= stop:
            return _Held((), array("I"), array("d"))
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
        return _Held(tuple(blocks), ends, newest)


class Column:
    """One quantity, with the rows in which it was measured."""

    __slots__ = ("_held", "_rows", "_start", "_values")

    def __init__(self) -> None:
        self._held = _Held((), array("I"), array("d"))
        self._values: array[float] | None = None
        self._start = 0  # the first row; the others follow on it as long as there is no `_rows`
        self._rows: array[int] | None = None

    def __len__(self) -> int:
        _, ends, newest = self._held
        return (ends[-1] if ends else 0) + len(newest)

    @property
    def rows(self) -> array[int] | range:
        """One for each value, rising."""
        if self._rows is not None:
            return self._rows
        return range(self._start, self._start + len(self))

    @property
    def plain(self) -> bool:
        """Whether it has no gaps."""
        return self._rows is None

    @property
    def newest(self) -> array[float]:
        """The values that are not packed, to be added to; another array once it was packed."""
        return self._held.newest

    @property
    def values(self) -> array[float]:
        """All of them, not to be changed. They stay unpacked from now on, for a curve that is
        drawn over and over: it finds the same array, only longer, until something is cut off."""
        known = self._values
        if known is None:
            known = self._values = array("d")
        if len(known) < len(self):
            known.extend(self.part(len(known)))
        return known

    def part(self, start: int = 0, stop: int | None = None) -> array[float]:
        """Some of the values."""
        held = self._held.cut(start, len(self) if stop is None else stop)
        found = array("d")
        for block, end in zip(held.blocks, held.ends, strict=True):
            found.extend(unpack(block, end - len(found)))
        found.extend(held.newest)
        return found

    def add(self, row: int, value: Any) -> None:
        if self._rows is None and row != self._start + len(self):
            self._part(row)
        try:
            self.newest.append(value)
        except (TypeError, OverflowError):  # it was measured, but it is no number
            self.newest.append(float("nan"))
        if self._rows is not None:
            self._rows.append(row)

    def extend(self, rows: array[int] | range, other: Column, start: int, stop: int) -> None:
        """Some of another's values behind the own ones; rows that are a `range` follow on each
        other. Blocks are shared."""
        if self._rows is None and rows[:1]:
            if isinstance(rows, range) and not len(self):
                self._start = rows[0]
            elif not isinstance(rows, range) or rows[0] != self._start + len(self):
                self._rows = array("I", self.rows)
        if stop - start < BLOCK // 4:  # not worth a block of their own
            self.newest.extend(other.part(start, stop))
        else:
            self._pack()
            mine, theirs, n = self._held, other._held.cut(start, stop), len(self)
            ends = mine.ends + array("I", [end + n for end in theirs.ends])
            self._held = _Held(mine.blocks + theirs.blocks, ends, theirs.newest)
        if self._rows is not None:
            self._rows.extend(rows)
        self.pack()

    def pack(self) -> None:
        """The newest values become a block, where they are enough for one."""
        if len(self.newest) >= BLOCK:
            self._pack()

    def _pack(self) -> None:
        blocks, ends, newest = self._held
        if newest:
            ends = ends + array("I", [len(self)])
            self._held = _Held((*blocks, pack(newest)), ends, array("d"))

    def _part(self, row: int) -> None:
        """A gap comes before this row: from now on rows are kept one by one."""
        if len(self):
            self._rows = array("I", self.rows)
        else:
            self._start = row

    def at(self, row: int) -> float | None:
        """The value of a row; None where it was not measured."""
        rows = self.rows
        i = row - self._start if isinstance(rows, range) else bisect_left(rows, row)
        if not 0 <= i < len(rows) or rows[i] != row:
            return None
        blocks, ends, newest = self._held
        k = bisect_right(ends, i)
        i -= ends[k - 1] if k else 0
        return one(blocks[k], i) if k < len(blocks) else newest[i]

    def cut(self, rows: int) -> None:
        """Keep what lies in the first so many rows."""
        n = bisect_left(self.rows, rows)
        # another array: who has summed up the old one must notice
        self._held, self._values = self._held.cut(0, n), None
        self._rows = None if self._rows is None else self._rows[:n]


class _Shape:
    """What rows that measured these quantities are taken in with."""

    __slots__ = ("appends", "columns", "plain", "rows")

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.appends = [column.newest.append for column in columns]
        self.plain = frozenset(id(column) for column in columns if column.plain)
        self.rows = [column.rows.append for column in columns if isinstance(column.rows, array)]


class Table:
    """Columns by name, and how rows come into them: nearly every row measures what some row before
    it measured, and then all its columns are just one longer."""

    def __init__(self, columns: dict[str, Column]) -> None:
        self._columns = columns
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._newest: _Shape | None = None

    def append(self, row: int, values: Mapping[str, Any]) -> None:
        """The row behind the newest."""
        shape, newest = self._shapes.get(tuple(values)), self._newest
        if shape is None or (
            shape is not newest and (newest is None or shape.plain != newest.plain)
        ):
            self._first(row, values)
            return
        try:
            for append, value in zip(shape.appends, values.values(), strict=True):
                append(value)
        except (TypeError, OverflowError):  # one of them is no number
            for column in shape.columns:
                column.cut(row)
            self._shapes = {}
            self._first(row, values)
            return
        for append in shape.rows:
            append(row)
        self._newest = shape

    def pack(self) -> None:
        """Pack what the columns have grown by."""
        for column in self._columns.values():
            column.pack()
        self._shapes = {}  # they would add to arrays of before

    def _first(self, row: int, values: Mapping[str, Any]) -> None:
        """A row like no other, or after a row unlike it."""
        for name in values:
            if name not in self._columns:
                self._columns[name] = Column()
        own = [self._columns[name] for name in values]
        plain = [column.plain for column in own]
        for column, value in zip(own, values.values(), strict=True):
            column.add(row, value)
        if plain != [column.plain for column in own]:
            self._shapes = {}  # others know them as plain
        self._newest = self._shapes[tuple(values)] = _Shape(own)
