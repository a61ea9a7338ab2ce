"""Where a long series is lowest and highest, in blocks of blocks: what a curve of a few hundred
columns needs is found without a look at every value. Blocks are remembered as long as their array
lives, and grow with it.
"""

from __future__ import annotations

import math
import weakref
from array import array
from collections.abc import Iterator, Sequence

BLOCK = 32
"""Values of a block on the lowest level; on each level above it, four times as many."""

NONE = 0xFFFFFFFF
"""In the place of an index: no value of the block is finite."""


class Extremes:
    """`low[level]` and `high[level]` hold, for each full block, the index of its lowest and its
    highest finite value."""

    def __init__(self) -> None:
        self.low: list[array[int]] = [array("I")]
        self.high: list[array[int]] = [array("I")]
        self.length = 0

    def grow(self, values: array[float]) -> None:
        """Take in what came behind. Values that were taken in must not have changed."""
        low, high = self.low[0], self.high[0]
        for at in range(len(low) * BLOCK, len(values) - BLOCK + 1, BLOCK):
            a, b = _ends(values, at, at + BLOCK)
            low.append(a)
            high.append(b)
        self.length = len(values)
        level = 0
        while len(self.low[level]) >= 4:
            if level + 1 == len(self.low):
                self.low.append(array("I"))
                self.high.append(array("I"))
            for mine, theirs, best in (
                (self.low[level + 1], self.low[level], min),
                (self.high[level + 1], self.high[level], max),
            ):
                for at in range(len(mine) * 4, len(theirs) - 3, 4):
                    known = [i for i in theirs[at : at + 4] if i != NONE]
                    mine.append(best(known, key=values.__getitem__) if known else NONE)
            level += 1

    def blocks(self, values: array[float], count: int) -> Iterator[tuple[int, int]]:
        """Lowest and highest of some `count` to four times `count` blocks, and of what is behind
        them; those without a finite value are left out."""
        level = len(self.low) - 1
        while level and len(self.low[level]) < count:
            level -= 1
        done = 0
        for a, b in zip(self.low[level], self.high[level], strict=True):
            done += BLOCK * 4**level
            if a != NONE:
                yield a, b
        while level >= 0:  # smaller blocks for the end
            size = BLOCK * 4**level
            for at in range(done // size, len(self.low[level])):
                done += size
                if self.low[level][at] != NONE:
                    yield self.low[level][at], self.high[level][at]
            level -= 1
        a, b = _ends(values, done, len(values))
        if a != NONE:
            yield a, b


def _ends(values: array[float], start: int, stop: int) -> tuple[int, int]:
    part = values[start:stop].tolist()
    if not math.isfinite(sum(part)):  # or too large to add up; then it is only slower
        finite = [i for i, v in enumerate(part) if math.isfinite(v)]
        if not finite:
            return NONE, NONE
        return (
            start + min(finite, key=part.__getitem__),
            start + max(finite, key=part.__getitem__),
        )
    if not part:
        return NONE, NONE
    return start + part.index(min(part)), start + part.index(max(part))


_known: dict[int, tuple[weakref.ref[array[float]], Extremes]] = {}


def extremes(values: array[float]) -> Extremes:
    """Those of an array that may have grown since the last time."""
    found = _known.get(id(values))
    if found is None or found[0]() is not values or found[1].length > len(values):
        key = id(values)
        found = weakref.ref(values, lambda _: _known.pop(key, None)), Extremes()
        _known[key] = found
    if found[1].length != len(values):
        found[1].grow(values)
    return found[1]


def span(values: Sequence[float]) -> tuple[float, float] | None:
    """The lowest and the highest finite value; None if there is none."""
    if isinstance(values, array) and len(values) > BLOCK:
        ends = [*extremes(values).blocks(values, 1)]
        if not ends:
            return None
        return min(values[a] for a, _ in ends), max(values[b] for _, b in ends)
    finite = [v for v in values if math.isfinite(v)]
    return (min(finite), max(finite)) if finite else None


def decimate(
    x: Sequence[float], y: Sequence[float], columns: int
) -> tuple[list[float], list[float]]:
    """At most two points a column, each column's lowest and highest; what is not finite is left
    out.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} x, {len(y)} y")
    if isinstance(y, array) and len(y) > 8 * columns > 0:  # its blocks know
        ends = [*extremes(y).blocks(y, columns)]
        kept: list[int] = []
        for c in range(columns):
            part = ends[len(ends) * c // columns : len(ends) * (c + 1) // columns]
            if part:
                low = min((a for a, _ in part), key=y.__getitem__)
                high = max((b for _, b in part), key=y.__getitem__)
                kept += sorted({low, high})
        return [x[i] for i in kept], [y[i] for i in kept]
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if len(points) <= 2 * columns or columns < 1:
        return [a for a, _ in points], [b for _, b in points]
    few: list[tuple[float, float]] = []
    for c in range(columns):
        part = points[len(points) * c // columns : len(points) * (c + 1) // columns]
        if part:
            few += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [a for a, _ in few], [b for _, b in few]
