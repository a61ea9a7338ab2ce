"""At the first start on a machine, the loops of learning are compiled by a process of their own
beside those of sampling: in one process, numba compiles one after the other.

`python -m grpolab.engine.backbone.cpu.compile_ahead DTYPE` is that process. It ends with the one
that started it.
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
"""Seconds after which the loops are rather compiled here."""


@contextmanager
def compiling(learning: torch.dtype) -> Iterator[None]:
    """Have the loops of learning in this type when the block ends, as far as there is a core to
    spare for it and a place to keep them; whatever fails is left to who needs them."""
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
    """What it keeps open of the parent's is closed with it. (Python's own stdin would be locked
    while it waits, and in the way of an end in time.)"""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
