"""Processes that the screen starts, and their ends."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from grpolab.tui import source


@pytest.mark.parametrize("work", ["import time; time.sleep(100)", "print('done')"])
async def test_nothing_of_a_child_outlives_its_end(work: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", work, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    if "sleep" not in work:
        await process.wait()
    await source.end(process)
    assert process.returncode == (-9 if "sleep" in work else 0)
    transport = process._transport  # pyright: ignore
    assert all(transport.get_pipe_transport(fd).is_closing() for fd in range(3))
