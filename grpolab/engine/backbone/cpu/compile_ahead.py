"""At the first start on a machine, a second process compiles the loops of training while this one
compiles those of sampling: within one process, numba compiles one after another.

`python -m grpolab.engine.backbone.cpu.compile_ahead DTYPE` is that process. It ends when the
process that started it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import torch

from grpolab import launch
from grpolab.engine.backbone.cpu import layers
from grpolab.engine.backbone.cpu.loop import cacheable, cached

PATIENCE = 300.0
"""Seconds to wait for the other process before the loops are compiled here."""


@contextmanager
def compiling(learning: torch.dtype) -> Iterator[None]:
    """Compile the loops of training in this dtype while the block runs, if there is a second core
    and a cache folder. If that fails they are compiled when they are first called."""
    child = None
    if not cached() and cacheable() and launch.default_threads() > 1:
        name = str(learning).removeprefix("torch.")
        quiet = subprocess.DEVNULL
        with suppress(OSError):
            child = launch.spawn(
                ["-m", "grpolab.engine.backbone.cpu.compile_ahead", name], quiet, quiet
            )
    try:
        yield
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(PATIENCE)
    finally:
        if child is not None:
            child.kill()
            child.wait()
            assert child.stdin is not None
            child.stdin.close()


def main() -> None:
    Thread(target=_end_with_the_parent, daemon=True).start()
    layers.warm(getattr(torch, sys.argv[1]))


def _end_with_the_parent() -> None:
    """Exit when stdin is closed, which happens when the parent ends. (Reading Python's own stdin
    object would hold a lock that delays the exit.)"""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
