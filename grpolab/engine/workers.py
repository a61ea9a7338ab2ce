"""Threads that each compute a piece of the rows, every one with single-threaded kernels.

On a few cores this beats splitting every kernel over all threads: nothing waits spinning for the
slowest core, a busy neighbour costs its share and no more, and since the pieces do not depend on
the number of threads, neither do the results: a run has one digest on one core and on eight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """`parallel` False: one thread, kernels use all `threads` (a GPU, or a backbone with shared
    state)."""

    def __init__(self, threads: int, *, parallel: bool) -> None:
        self.parallel = parallel
        torch.set_num_threads(1 if parallel else threads)
        self.at_once = threads if parallel else 1
        self.around: Callable[[Callable], Callable] = lambda work: work  # see `memory.watched`
        # each thread has to be told: some kernels would take all cores in a thread that was not
        self._pool = (
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
            if parallel and threads > 1
            else None
        )

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`work` of every item, results in the order of the items. The first exception is
        raised."""
        return list(self.each(work, items))

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """The same, one after the other: without threads each item is worked on when its result is
        wanted."""
        work = self.around(work)
        return map(work, items) if self._pool is None else self._pool.map(work, items)
