"""When a screen under test has nothing left to do.

Textual's own wait looks whether the process has been idle for 20 milliseconds, twice for each key:
two thirds of the time of these tests went by in sleep. What there is to do can be asked instead.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import textual.app
import textual.pilot
from textual._context import active_app
from textual._wait import wait_for_idle
from textual.app import App
from textual.worker import WorkerState

MOMENT = 0.001
"""Seconds in which files, sockets and other threads have their say."""


def busy_elsewhere(app: App[Any]) -> bool:
    """A worker computes, in a thread or in a process: nobody knows when it has something to say."""
    return any(w.state in (WorkerState.PENDING, WorkerState.RUNNING) for w in app.workers)


def draw(app: App[Any]) -> bool:
    """Do what waits for the next frame: a new size, what is to be drawn. Whether anything did."""
    if app._resize_timer is not None:
        app._check_resize()
        return True
    if not app._screen_stack:
        return False
    screen = app.screen
    waits = screen._layout_required or screen._repaint_required or screen._dirty_widgets
    if waits or screen._callbacks:
        screen._on_timer_update()
    return bool(waits or screen._callbacks)


async def quiet(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Until no message, no callback and no frame is waiting. Takes the place of `wait_for_idle`."""
    app = active_app.get()
    ready: Any = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    end = monotonic() + max_sleep
    while monotonic() < end:
        await asyncio.sleep(0)
        if ready or draw(app):
            continue
        if busy_elsewhere(app):
            return await wait_for_idle(min_sleep, max_sleep)
        await asyncio.sleep(MOMENT)
        if not ready and not draw(app):
            return None
    return None


def take_over() -> None:
    """From now on in this process."""
    textual.app.wait_for_idle = textual.pilot.wait_for_idle = quiet
