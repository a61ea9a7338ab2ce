"""A lab whose terminal is gone ends, as by SIGHUP, also where that signal is ignored (`nohup`, some
supervisors). Its engine then finds its stdin closed, saves and ends; left alone, the thread that
reads keys would read the end of a file for ever, on a core of its own.
"""

from __future__ import annotations

import os
import select
import signal
import sys

GLANCE = 1.0
"""Seconds between two looks."""


def on_a_terminal() -> bool:
    """Whether keys come from a terminal, whose end the system can tell."""
    return hasattr(select, "poll") and sys.__stdin__ is not None and sys.__stdin__.isatty()


def is_gone(fd: int) -> bool:
    """Whether what was a terminal is hung up."""
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP and POLLERR are always told
    return any(found & (select.POLLHUP | select.POLLERR) for _, found in poll.poll(0))


def end_if_gone() -> None:
    """End this process, as SIGHUP does, if the terminal on its stdin is gone. Only where there was
    one: see `on_a_terminal`."""
    if sys.__stdin__ is not None and is_gone(sys.__stdin__.fileno()):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGHUP)
