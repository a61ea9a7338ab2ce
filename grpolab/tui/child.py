"""The end of a child process that the screen started."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from contextlib import suppress

PATIENCE = 2.0
"""Seconds for a killed process to be gone."""


async def end(process: Process) -> None:
    """Kill it if it lives, and wait until its pipes are closed too: a loop that ends before them
    has their remains complain on the terminal."""
    if process.returncode is None:
        process.kill()
    if process.stdin is not None:
        process.stdin.close()
    with suppress(TimeoutError, OSError, ValueError):
        async with asyncio.timeout(PATIENCE):
            await process.communicate()
