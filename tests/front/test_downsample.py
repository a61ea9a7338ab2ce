"""Curves of long series: the same extremes, found without a look at every value."""

from __future__ import annotations

import math
import random
from array import array

import pytest

from grpolab.charts import downsample
from grpolab.charts.downsample import BLOCK, span


def series(count: int, seed: int = 0, odd: float = 0.02) -> array[float]:
    rng = random.Random(seed)
    values = [rng.gauss(0, 1) for _ in range(count)]
    for at in range(count):
        if rng.random() < odd:
            values[at] = rng.choice((math.nan, math.inf, -math.inf))
    return array("d", values)


@pytest.mark.parametrize("count", [0, 1, 31, 33, 1000, 1024, 5000, 20_011])
@pytest.mark.parametrize("odd", [0.0, 0.02, 1.0])
def test_span(count: int, odd: float) -> None:
    values = series(count, odd=odd)
    finite = [v for v in values if math.isfinite(v)]
    assert span(values) == ((min(finite), max(finite)) if finite else None)
    assert span(values.tolist()) == span(values)


@pytest.mark.parametrize("count", [1000, 1024, 5000, 20_011])
def test_a_curve_keeps_its_extremes_and_where_they_are(count: int) -> None:
    y = series(count)
    x = array("i", [3 * i for i in range(count)])
    for columns in (10, 60, 120):
        few_x, few_y = downsample.decimate(x, y, columns)
        assert len(few_x) <= 2 * columns and few_x == sorted(few_x)
        assert all(y[a // 3] == b for a, b in zip(few_x, few_y, strict=True))
        assert (min(few_y), max(few_y)) == span(y)
        # each stretch of the curve reaches nearly as high as its values
        for start in range(0, count - count // 4, count // 8):
            part = [v for v in y[start : start + count // 4] if math.isfinite(v)]
            drawn = [b for a, b in zip(few_x, few_y, strict=True)
                     if start <= a // 3 < start + count // 4]  # fmt: skip
            assert max(drawn) >= sorted(part)[-4] or columns < 60


def test_it_grows_and_agrees_with_one_made_at_once() -> None:
    whole, grown = series(3000), array("d")
    for at in range(0, 3000, 77):
        grown.extend(whole[at : at + 77])
        assert downsample.decimate(grown, grown, 20) == downsample.decimate(
            grown.tolist(), array("d", grown), 20
        )
    known = downsample.extremes(grown)
    assert known is downsample.extremes(grown)
    assert sum(4 * len(level) for level in known.low) < 3000  # and little is remembered


def test_the_blocks_of_an_array_go_with_it() -> None:
    values = series(2000)
    downsample.extremes(values)
    key = id(values)
    assert key in downsample._known
    del values
    assert key not in downsample._known


def test_drawing_a_longer_curve_takes_no_more_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    seen = downsample._ends

    def ends(values: array[float], start: int, stop: int) -> tuple[int, int]:
        looks.append(stop - start)
        return seen(values, start, stop)

    monkeypatch.setattr(downsample, "_ends", ends)
    for count in (5_000, 80_000):
        y = series(count, odd=0.0)
        downsample.decimate(y, y, 100)
        looks.clear()
        y.extend([0.5] * BLOCK)
        downsample.decimate(y, y, 100)
        assert sum(looks) <= 3 * BLOCK


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 x, 2 y"):
        downsample.decimate([1, 2, 3], [1, 2], 4)
