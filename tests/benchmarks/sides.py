"""Two sides, each in a process of its own, that work in turn: A B A B.

A side of its own means its own threads, its own memory figures, and that one may fail without the
other; in turn means that whatever else the machine does meets both.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any


class SideError(RuntimeError):
    """What went wrong on a side, with its traceback."""


class Side:
    """An object of another process. `call` names one of its methods and waits for the result."""

    def __init__(self, maker: str, environment: Mapping[str, str], options: dict[str, Any]) -> None:
        """`maker` is `module:Class`, called with `options` in a new process."""
        context = mp.get_context("spawn")
        self._end, theirs = context.Pipe()
        self.maker = maker
        quiet = {"PYTHONWARNINGS": "ignore"}  # of semaphores that a trainer leaves behind
        with _environment(quiet | dict(environment)):
            self.process = context.Process(
                target=_serve, args=(theirs, maker, options), daemon=True
            )
            self.process.start()
        theirs.close()
        try:
            self._answer()
        except SideError:
            self.close()
            raise

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """The method's result. Raises SideError."""
        self._end.send((method, args, options))
        return self._answer()

    def _answer(self) -> Any:
        try:
            good, found = self._end.recv()
        except EOFError:
            self.process.join(5)
            raise SideError(f"{self.maker} died, exit code {self.process.exitcode}") from None
        if not good:
            raise SideError(f"{self.maker} failed:\n{found}")
        return found

    def close(self) -> None:
        self._end.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def alternate(
    repeats: int, *works: Callable[[int], float], warm: int = 1
) -> tuple[list[float], ...]:
    """Each work in turn, `warm` rounds that do not count and `repeats` that do. A work is told the
    round's number and returns its figure."""
    found: tuple[list[float], ...] = tuple([] for _ in works)
    for at in range(-warm, repeats):
        for kept, work in zip(found, works, strict=True):
            value = work(at + warm)
            if at >= 0:
                kept.append(value)
    return found


def _serve(end: Connection, maker: str, options: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command closes the pipe
    module, _, name = maker.partition(":")
    try:
        served = getattr(import_module(module), name)(**options)
        end.send((True, None))
    except BaseException:
        end.send((False, traceback.format_exc()))
        os._exit(1)
    while True:
        try:
            method, args, how = end.recv()
        except (EOFError, OSError):
            os._exit(0)  # a trainer's thread may still wait for its next step
        try:
            end.send((True, getattr(served, method)(*args, **how)))
        except Exception:
            end.send((False, traceback.format_exc()))


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The parts to do, in their own order. Raises ValueError naming one that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(f"no part {name!r}; parts: {', '.join(known)}")
    return [name for name in known if not names or name in names]
