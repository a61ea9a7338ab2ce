"""Which checkpoints stay on disk: the newest, and older ones spread over the run's life, the
thinner the older, so that a rewind reaches far back and the folder stays small."""

from __future__ import annotations

from collections.abc import Sequence

NEWEST = 5
"""Checkpoints that always stay, whatever they take."""

MOST = 16
"""Checkpoints that stay in all."""

EVEN = 0.5
"""From 0, gaps alike at every age, to 1, gaps in proportion to it."""

ROOM = 1 << 30
"""Bytes that all of them may take, where the newest alone take less."""


def kept(steps: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Of checkpoints with these steps (rising) and bytes, the steps of those that stay.

    Again and again the older one goes whose gap would be the smallest for its age. The start of a
    run needs no checkpoint.
    """
    left = list(zip(steps, sizes, strict=True))
    while len(left) > NEWEST and (len(left) > MOST or sum(size for _, size in left) > ROOM):
        now = left[-1][0]
        older = range(len(left) - NEWEST)

        def gap(i: int, left: list[tuple[int, int]] = left, now: int = now) -> float:
            before = left[i - 1][0] if i else 0
            return (left[i + 1][0] - before) / max(1, now - left[i][0]) ** EVEN

        del left[min(older, key=gap)]
    return [step for step, _ in left]
