"""Checkpoints that stay: the newest, and older ones spread over the run, within a bound."""

from __future__ import annotations

from itertools import pairwise

import pytest

from grpolab.engine import checkpoint
from grpolab.engine.checkpoint import MOST, NEWEST, ROOM, to_keep


def life(steps: list[int], size: int = 1000) -> list[int]:
    """What is on disk after each of these was written in its turn."""
    there: list[int] = []
    for step in steps:
        there = to_keep([*there, step], [size] * (len(there) + 1))
    return there


@pytest.mark.parametrize("last", [60, 600, 6000, 60000])
def test_they_reach_far_back_and_are_dense_where_it_is_new(last: int) -> None:
    steps = list(range(10, last + 1, 10))
    there = life(steps)
    assert len(there) == min(MOST, len(steps)) and set(there) <= set(steps)
    assert there[-NEWEST:] == steps[-NEWEST:]
    gaps = [step - before for before, step in pairwise([0, *there])]
    assert max(gaps) <= max(20, 0.25 * last), gaps  # no part of the run is far from all of them
    old, new = gaps[: len(gaps) // 2], gaps[len(gaps) // 2 :]
    assert sum(old) >= sum(new)


def test_what_was_written_by_hand_counts_like_the_others() -> None:
    there = life([10, 13, 14, 20, *range(30, 400, 10)])
    assert len(there) == MOST and there[-NEWEST:] == [350, 360, 370, 380, 390]


def test_large_ones_are_fewer_and_the_newest_stay_whatever_they_take() -> None:
    steps = list(range(1, 41))
    assert life(steps, ROOM) == steps[-NEWEST:]
    there = life(steps, ROOM // 8)
    assert len(there) == 8 and there[-NEWEST:] == steps[-NEWEST:] and there[0] < 20
    assert len(life(steps, 0)) == MOST


def test_a_few_all_stay() -> None:
    assert to_keep([], []) == [] and to_keep([3], [10 * ROOM]) == [3]
    assert to_keep([1, 2, 3], [1, 1, 1]) == [1, 2, 3] and checkpoint.MOST > checkpoint.NEWEST
