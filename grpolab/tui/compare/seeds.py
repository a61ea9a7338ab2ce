"""Further seeds of a comparison: each is a run of its own with a lane for every algorithm, computed
behind the one on the screen and read as it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from grpolab.launch import Engine, Request
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.tui.source import Following


class SeedRun:
    """One further seed: its run directory, what is known of it, and its engine while it runs."""

    def __init__(self, seed: int, run: Path) -> None:
        self.seed, self.run = seed, run
        self.state = LabState()
        self.engine: Engine | None = None
        self.problem = ""  # why it ended without an end
        self._source = Following(run, "watch")
        self.done = directory.is_done(run)
        self.begun = self.done or directory.opening(run) is not None

    @property
    def label(self) -> str:
        return str(self.seed)

    @property
    def running(self) -> bool:
        return self.engine is not None and not self.done and not self.problem

    def start(self, boot: Callable[[Request], Engine], device: str, threads: int | None) -> None:
        """Start, or resume, its engine."""
        self.engine = boot(Request(resume=str(self.run), device=device, threads=threads))
        self.begun = True

    def poll(self) -> bool:
        """Read what is new; whether there was something."""
        if not self.begun:
            return False
        self._source.load()
        alive = self.engine is not None and self.engine.running  # asked before the file is read
        restart, batch = self._source.poll(0.0)
        if restart:
            self.state = self._source.fresh()
        elif self.state.archive is None:
            self.state.archive = self._source.past
        for t, event in batch:
            self.state.apply(event, t)
            if isinstance(event, ev.Paused):
                self._pass_on()
        ended = self.state.ended
        if ended is not None and ended.status == "done" and not self.done:
            self.done = True
            return True
        if self.engine is not None and not alive and not batch and self.running:
            self.problem = self._why()
            return True
        return restart or bool(batch)

    def _pass_on(self) -> None:
        """Nobody is there to press a key: continue after a pause, and leave at the end."""
        if self.engine is None:
            return
        if self.state.steps and self.state.step >= self.state.steps:
            self.engine.stop()
        else:
            self.engine.send({"do": "continue"})

    def _why(self) -> str:
        """Why its engine ended, in one line."""
        assert self.engine is not None
        if self.state.failed is not None:
            return self.state.failed.error.strip().partition("\n")[0]
        try:
            self.engine.ready()
        except Exception as error:  # refused, or it could not start
            return str(error).strip().partition("\n")[0]
        if self.state.ended is not None:
            return self.state.ended.status
        tail = self.engine.log_tail().strip().splitlines()
        return tail[-1] if tail else "its engine ended"

    def told(self) -> str:
        """Its progress in words."""
        if self.problem:
            return f"seed {self.seed} not done: {self.problem}"
        if self.done:
            return f"seed {self.seed} done"
        if self.engine is None:
            return f"seed {self.seed} waiting"
        return f"seed {self.seed}: step {self.state.step}/{self.state.steps}"


class SeedRuns:
    """The further seeds, `at_once` engines at a time with the one of the first seed."""

    def __init__(
        self,
        first: int,
        further: Mapping[int, Path],
        *,
        device: str = "auto",
        threads: int | None = None,
        at_once: int = 1,
        again: str = "",
        boot: Callable[[Request], Engine] = Engine.boot,
    ) -> None:
        self.first = str(first)
        self.again = again  # the command line that continues them
        self.runs = [SeedRun(seed, run) for seed, run in further.items()]
        self._device, self._threads, self._at_once, self._boot = device, threads, at_once, boot

    def poll(self, first: LabState, over: bool) -> bool:
        """Read what is new, and start the next engine once there is room. `over`: the first seed's
        run has ended. Whether there was something new."""
        new = [run.poll() for run in self.runs]
        computing = not over and not (0 < first.steps <= first.step)
        running = sum(run.running for run in self.runs) + computing
        waiting = [run for run in self.runs if run.engine is None and not run.done]
        if waiting and running < self._at_once:
            waiting[0].start(self._boot, self._device, self._threads)
            return True
        return any(new)

    def state(self, label: str) -> LabState | None:
        """The state of a further seed that has lanes already."""
        run = next((r for r in self.runs if r.label == label), None)
        return run.state if run is not None and run.state.lanes else None

    def told(self) -> list[str]:
        """What is not done yet, in words."""
        return [run.told() for run in self.runs if not run.done]

    def close(self) -> None:
        """Let every engine finish its step, and wait for them."""
        for run in self.runs:
            if run.engine is not None:
                run.engine.stop()
        for run in self.runs:
            if run.engine is not None:
                with suppress(OSError):
                    run.engine.close()
