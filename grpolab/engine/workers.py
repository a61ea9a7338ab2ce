"""Threads that each compute some of the rows, with single-threaded kernels.

On a few cores this is faster than splitting every kernel over all threads: no thread waits for the
slowest core in every operation. The split into pieces does not depend on the number of threads, so
results do not either: a run has one digest on one core and on eight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A thread pool for pieces of rows. `parallel` False: no pool, kernels use all `threads` (for a
    GPU, or a backbone that threads may not share)."""

    def __init__(self, threads: int, *, parallel: bool) -> None:
        self.parallel = parallel
        torch.set_num_threads(1 if parallel else threads)
        self.at_once = threads if parallel else 1
        self.around: Callable[[Callable], Callable] = lambda work: work  # see `memory.watched`
        # set in each thread: kernels of a thread without the setting may use all cores
        self._pool = (
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
            if parallel and threads > 1
            else None
        )

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`work` of every item; results in the order of the items. Raises the first exception."""
        return list(self.each(work, items))

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`map` as an iterator; without a pool items are computed as results are asked for."""
        work = self.around(work)
        return map(work, items) if self._pool is None else self._pool.map(work, items)
