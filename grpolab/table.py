"""Numbers in columns, some of which lack rows, and the quick way of a row into them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any


class Column:
    """One quantity, with the rows in which it was measured."""

    __slots__ = ("_rows", "_start", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self._start = 0  # the first row; the others follow on it as long as there is no `_rows`
        self._rows: array[int] | None = None

    @property
    def rows(self) -> array[int] | range:
        """One for each value, rising."""
        if self._rows is not None:
            return self._rows
        return range(self._start, self._start + len(self.values))

    @property
    def plain(self) -> bool:
        """Whether it has no gaps."""
        return self._rows is None

    def add(self, row: int, value: Any) -> None:
        if self._rows is None and row != self._start + len(self.values):
            self._part(row)
        try:
            self.values.append(value)
        except TypeError:  # it was measured, but it is no number
            self.values.append(float("nan"))
        if self._rows is not None:
            self._rows.append(row)

    def extend(self, rows: array[int] | range, values: array[float]) -> None:
        """Values behind the own ones; rows that are a `range` follow on each other."""
        if self._rows is None and rows[:1]:
            if isinstance(rows, range) and not self.values:
                self._start = rows[0]
            elif not isinstance(rows, range) or rows[0] != self._start + len(self.values):
                self._rows = array("I", self.rows)
        self.values.extend(values)
        if self._rows is not None:
            self._rows.extend(rows)

    def _part(self, row: int) -> None:
        """A gap comes before this row: from now on rows are kept one by one."""
        if self.values:
            self._rows = array("I", self.rows)
        else:
            self._start = row

    def at(self, row: int) -> float | None:
        """The value of a row; None where it was not measured."""
        rows = self.rows
        i = row - self._start if self._rows is None else bisect_left(rows, row)
        return self.values[i] if 0 <= i < len(rows) and rows[i] == row else None

    def cut(self, rows: int) -> None:
        """Keep what lies in the first so many rows."""
        n = bisect_left(self.rows, rows)
        # new arrays: who has summed up the old ones must notice
        self.values = self.values[:n]
        self._rows = None if self._rows is None else self._rows[:n]


class _Shape:
    """What rows that measured these quantities are taken in with."""

    __slots__ = ("appends", "columns", "plain", "rows")

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.appends = [column.values.append for column in columns]
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
        if shape is None or newest is None or shape.plain != newest.plain:
            self._first(row, values)
            return
        try:
            for append, value in zip(shape.appends, values.values(), strict=True):
                append(value)
        except TypeError:  # one of them is no number
            for column in shape.columns:
                column.cut(row)
            self._shapes = {}
            self._first(row, values)
            return
        for append in shape.rows:
            append(row)
        self._newest = shape

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
