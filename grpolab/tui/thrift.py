"""How much the screen does by itself beside a training run: no more than a share of one core,
whatever the machine, the size of the screen, and the speed of the run. The two often share a core,
and what the one takes the other lacks."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.02
"""Of one core: all that the screen's thread computes, painting and the rest."""

SAVED = 0.03
"""Seconds of computing that may be saved up while little happens."""

OWED = 0.05
"""Seconds by which it may be overdrawn: what one large repaint took is not paid back for ever."""


class Thrift:
    """An account of computing time: it fills up with the time that passes."""

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._now, self._spent = now, spent
        self._then, self._before = now(), spent()
        self._left = SAVED

    def left(self) -> bool:
        """Whether more may be computed now."""
        now, spent = self._now(), self._spent()
        self._left += SHARE * (now - self._then) - (spent - self._before)
        self._left = min(SAVED, max(-OWED, self._left))
        self._then, self._before = now, spent
        return self._left > 0

    def forgive(self) -> None:
        """What was computed since the last time, somebody asked for."""
        self._then, self._before = self._now(), self._spent()
        self._left = max(0.0, self._left)
