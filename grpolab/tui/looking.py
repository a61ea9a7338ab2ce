"""The lens without an engine: a process of its own computes it from the run file."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path

from grpolab.launch import environment, python
from grpolab.tui import child
from grpolab.tui.text import visible


def command(run_dir: Path, step: int, lane: str) -> list[str]:
    """The command line of that process."""
    return python("-m", "grpolab.lens", f"--step={step}", f"--lane={lane}", "--json", "--",
                  str(run_dir))  # fmt: skip


async def compute(run_dir: Path, step: int, lane: str) -> bytes:
    """The JSON object of a recorded step. Raises ValueError with one line on what went wrong; the
    process is gone in any case."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command(run_dir, step, lane), stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
            env=environment(), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"the lens cannot be started: {error}") from None
    try:
        out, told = await process.communicate()
    finally:
        await child.end(process)
    if process.returncode:
        lines = [x for x in told.decode("utf-8", "replace").splitlines() if x.strip()]
        ended = f"the lens ended with exit code {process.returncode}"
        raise ValueError(visible(lines[-1].strip()) if lines else ended)
    return out
