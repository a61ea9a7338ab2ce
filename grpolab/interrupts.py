"""Ctrl-C, and what is treated like it, where there is no screen."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[None]:
    """A polite kill (SIGTERM) and a closed terminal (SIGHUP) are treated as Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt, "SIGTERM", "SIGHUP"):
        yield


@contextmanager
def counting() -> Iterator[list[int]]:
    """Ctrl-C and what is treated like it are noted in this list instead of being raised: an
    exception out of nowhere, while a child is asked whether it lives, would leave that locked."""
    seen: list[int] = []
    with _handled(lambda signum, frame: seen.append(signum), "SIGINT", "SIGTERM", "SIGHUP"):
        yield seen


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *names: str) -> Iterator[None]:
    """Signals of these names, where the system has them, go to this handler."""
    kinds = [k for n in names if (k := getattr(signal, n, None)) is not None]
    before = {kind: signal.signal(kind, handler) for kind in kinds}
    try:
        yield
    finally:
        for kind, old in before.items():
            signal.signal(kind, old)
