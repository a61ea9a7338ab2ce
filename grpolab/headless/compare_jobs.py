"""The runs of a comparison, so many engines at a time, with their progress on stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from grpolab.headless.compare_table import Run, first_line, fraction, measure
from grpolab.launch import Engine, Request, RunIsDone, counting, log_tail
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.tail import Follow

POLL = 0.05
"""Seconds between looks at the run files."""

MOST_NAMED = 4
"""Runs whose steps the bar tells at most."""


class Job:
    """One run: laid out, perhaps begun or done already; while it is computed, its engine."""

    def __init__(self, run: Path, algorithm: str, seed: int, steps: int) -> None:
        self.run, self.algorithm, self.seed, self.steps = run, algorithm, seed, steps
        self.step = 0
        self.engine: Engine | None = None
        self.follow = Follow(run / directory.EVENTS)
        self.problem = ""  # why there is no engine
        self.found: Run | None = None  # its numbers, once its engine has ended
        end = directory.ending(run)
        self.done = end is not None and end.status == "done"

    def start(self, threads: int | None, share: int, device: str) -> None:
        """Start its engine, on `threads`, or on those it was begun with, or on its `share`.

        Raises RequestError, as where another process computes this run.
        """
        if directory.opening(self.run) is None:
            threads = threads or share
        self.engine = Engine.boot(Request(resume=str(self.run), device=device, threads=threads))
        try:
            self.engine.ready()
        except RunIsDone:
            pass
        except RuntimeError as error:
            self.problem = str(error)

    def look(self) -> bool:
        """Take in what it wrote since the last look; False: its engine has ended."""
        alive = self.engine is not None and self.engine.running  # asked before the file is read
        taken = self.follow.poll()
        for _, event in taken:
            if isinstance(event, ev.StepDone | ev.Resumed):
                self.step = event.step
            elif isinstance(event, ev.Paused) and self.engine is not None:
                self.engine.send({"do": "continue"})  # nobody sits here to do it
        return alive or bool(taken)

    def stop(self) -> None:
        """Ask it to finish its step and write a checkpoint."""
        if self.engine is not None:
            self.engine.stop()

    def kill(self) -> None:
        if self.engine is not None:
            self.engine.kill()

    def result(self, *, stopped: bool = False) -> Run:
        """Its numbers, and why it failed if it did. `stopped`: its engine was told to end."""
        self.follow.close()
        found = {"seed": self.seed} | measure(self.run)
        begun = self.engine is not None and not stopped
        if begun and found["status"] in ("unfinished", "not started"):
            tail = (self.problem or log_tail(self.run)).strip().splitlines()
            found["status"] = "failed"
            found["error"] = f"the engine ended without a word: {tail[-1] if tail else 'no log'}"
        self.found = found
        return found


class Ticker:
    """Progress on stderr: a line for every run that ends and, on a terminal, a bar with what is
    being computed. Use as a context manager.
    """

    def __init__(self, jobs: Sequence[Job], stream: TextIO | None = None) -> None:
        self.jobs = jobs
        self.ended = sum(job.done for job in jobs)
        self.console = Console(
            file=stream or sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True
        )
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(None),
                TextColumn("{task.fields[now]}", markup=False), TimeElapsedColumn(), Remaining(),
                console=self.console, expand=True, refresh_per_second=4, transient=True,
                speed_estimate_period=900,
            )  # fmt: skip
            total = sum(job.steps for job in jobs if not job.done)
            self._task = self._bar.add_task("", total=total or None, now="")

    def __enter__(self) -> Ticker:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line)

    def over(self, job: Job, result: Run) -> None:
        """Tell how a run ended."""
        job.done = result["status"] == "done"
        self.ended += job.done
        if job.done:
            told = f"held-out accuracy {fraction(result['accuracy_start'])} → "
            told += f"{fraction(result['accuracy_end'])}, {result['wall_seconds']:.1f} s"
        elif result["status"] == "failed":
            told = f"failed after step {job.step}: {first_line(result.get('error', ''))}"
        else:
            told = f"interrupted after step {job.step} of {job.steps}"
        self.say(f"[{self.ended}/{len(self.jobs)}] {job.algorithm}, seed {job.seed}: {told}")

    def show(self, active: Sequence[Job], waiting: Sequence[Job]) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        names = [f"{job.run.name} {job.step}/{job.steps}" for job in active[:MOST_NAMED]]
        more = [f"+{len(active) - MOST_NAMED}"] if len(active) > MOST_NAMED else []
        ahead = sum(job.steps - job.step for job in active) + sum(job.steps for job in waiting)
        total = self._bar.tasks[0].total or 0
        self._bar.update(
            self._task,
            description=f"{self.ended} of {len(self.jobs)} runs",
            completed=max(0, total - ahead),
            now=", ".join(names + more),
        )


def compute(
    jobs: Sequence[Job], ticker: Ticker, *, at_once: int, threads: int | None, share: int,
    device: str,
) -> bool:  # fmt: skip
    """Compute the jobs that are not done; True if it was interrupted.

    Ctrl-C once lets the engines finish their steps and write checkpoints; twice ends them at once.
    Raises RequestError; no engine is left behind.
    """
    waiting = deque(job for job in jobs if not job.done)
    active: list[Job] = []
    interrupted = False
    try:
        with counting() as signals:
            while active or (waiting and not interrupted):
                if signals and not interrupted:
                    interrupted = True
                    ticker.say("interrupted: finishing the steps (Ctrl-C again ends them at once)")
                    for job in active:
                        job.stop()
                if len(signals) > 1:
                    for job in active:
                        job.kill()
                if waiting and len(active) < at_once and not interrupted:
                    active.append(waiting.popleft())
                    active[-1].start(threads, share, device)
                for job in [job for job in active if not job.look()]:
                    active.remove(job)
                    ticker.over(job, job.result(stopped=interrupted))
                ticker.show(active, waiting)
                time.sleep(POLL)
    finally:
        for job in active:
            job.stop()
        for job in active:
            if job.engine is not None:
                job.engine.close()
    return interrupted
