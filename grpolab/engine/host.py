"""The engine process: opens a run, listens to its stdin, drives the lab, and turns whatever
happens into events."""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from grpolab.engine import apply_cue, checkpoint, lab_checkpoint
from grpolab.engine.lab import Lab, machine
from grpolab.engine.lab_checkpoint import check_fork, rewind
from grpolab.errors import RequestError
from grpolab.estimate import memory as estimate
from grpolab.record import codec, directory, tail
from grpolab.record import events as ev
from grpolab.scenario import load, spec
from grpolab.scenario.spec import Cue, ForkCue, Scenario

CUE: TypeAdapter[Cue] = TypeAdapter(Cue)
DONE, FAILED, INTERRUPTED = 0, 1, 130


class Writer:
    """The only writer of the run file: whole lines, flushed at once, from any thread."""

    def __init__(self, path: Path, offset: float) -> None:
        torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        if torn:
            self._file.write("\n")
        self._start = time.perf_counter() - offset
        self._lock = threading.Lock()

    def __call__(self, event: ev.Event) -> None:
        with self._lock:
            self._file.write(codec.encode(event, time.perf_counter() - self._start) + "\n")
            self._file.flush()

    def last(self, event: ev.Event) -> None:
        """Write this one and none after it, whoever may try: the process is about to end."""
        self(event)
        self._lock.acquire()


class Host:
    """One engine process on one run directory."""

    def __init__(
        self, run_dir: Path, device: str, threads: int, *, resume: bool, started: float
    ) -> None:
        self.run_dir, self.threads, self.resume, self.started = run_dir, threads, resume, started
        self.recorded = tail.read(run_dir / directory.EVENTS) if resume else []
        offset = max((t for t, _ in self.recorded), default=0.0)
        self.emit = Writer(run_dir / directory.EVENTS, offset + (time.perf_counter() - started))
        self.device_name = device
        self.commands: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stopping = False
        self.opening = not resume  # nothing is computed yet, and nothing to go back to
        self.paused = False
        self.single = 0  # steps still to make while paused
        self.back_to: int | None = None  # a resume goes back to this step's checkpoint

    def run(self) -> int:
        """Do the work; the process's exit code. What fails becomes an event, not only a
        traceback."""
        threading.Thread(target=self._listen, daemon=True).start()
        lab: Lab | None = None
        try:
            plan = load.load(str(self.run_dir / directory.SCENARIO))
            if (dtype := directory.recorded_dtype(self.recorded)) is not None:
                model = plan.model.model_copy(update={"compute": dtype})
                plan = plan.model_copy(update={"model": model})
            device = _device(self.device_name)
            if not self.resume:
                self._announce(plan, device)
            lab = Lab(plan, self.run_dir, self.emit, device, self.threads)
            lab.clock.started = self.started
            lab.open()
            self.opening = False
            gc.freeze()
            gc.enable()  # see __main__
            if self.resume:
                self._go_back(lab)
                if self.back_to is not None:
                    rewind(lab, self.back_to)
            lab.clock.seconds["startup"] += time.perf_counter() - self.started
            self._loop(lab)
        except Exception as error:
            traceback.print_exc()
            step = lab.step_number if lab else 0
            where = "working" if lab and lab.lanes else "starting"
            self.emit(
                ev.Failed(step, f"{type(error).__name__}: {error}", where, traceback.format_exc())
            )
            self._end(lab, "failed")
            return FAILED
        done = lab.step_number >= lab.plan.train.steps
        self._end(lab, "done" if done else "interrupted")
        return DONE if done else INTERRUPTED

    def _loop(self, lab: Lab) -> None:
        if lab.step_number == 0:
            lab.evaluate()
        while True:
            if "pause" in lab.apply_cues():
                self._pause(lab, "cue")
            self._take_commands(lab)  # after the scenario's own cues of this step, as in a rerun
            while self.paused and not self.single and not self.stopping:
                lab.phase("waiting")
                self._obey(lab, self.commands.get())
                self._take_commands(lab)
            if lab.cues_due:  # a rewind brought them back
                continue
            if self.stopping or lab.step_number >= lab.plan.train.steps:
                break
            self.single = max(0, self.single - 1)
            lab.advance()
        if lab.saved != lab.step_number:
            lab.phase("stopping")
            lab_checkpoint.save(lab)

    # --- commands ---

    def _listen(self) -> None:
        """Lines of stdin become commands; its end means that nobody wants this process any more."""
        for line in sys.stdin:
            try:
                command = json.loads(line)
            except ValueError:
                command = None
            if isinstance(command, dict):
                self._take(command)
        self._take({"do": "stop"})

    def _take(self, command: dict[str, Any]) -> None:
        """For the next moment between two steps; but loading a model, or compiling at the first
        start, can take long, and loses nothing by being left."""
        if self.opening and command.get("do") == "stop":
            self.emit.last(ev.Ended(0, "interrupted"))
            os._exit(INTERRUPTED)
        self.commands.put(command)

    def _take_commands(self, lab: Lab) -> None:
        while True:
            try:
                self._obey(lab, self.commands.get_nowait())
            except queue.Empty:
                return

    def _obey(self, lab: Lab, command: dict[str, Any]) -> None:
        do = command.get("do")
        if do == "stop":
            self.stopping = True
        elif do == "pause":
            self._pause(lab, "command")
        elif do == "continue":
            if self.paused:
                self.paused = False
                self.emit(ev.Continued(lab.step_number))
        elif do == "step":
            if not self.paused:
                self._pause(lab, "command")
            self.single += 1
        elif do == "rewind":
            self._rewind(lab, command, command.get("to"))
        elif do == "fork" and "checkpoint" in command:
            self._fork_there(lab, command)
        else:
            self._change(lab, command)

    def _rewind(self, lab: Lab, command: dict[str, Any], to: object) -> bool:
        """Back to a checkpoint; False where that was refused. What was paused stays paused."""
        try:
            rewind(lab, _step(to))
        except (ValueError, OSError) as error:
            self.emit(ev.Refused(lab.step_number, command, str(error)))
            return False
        self.single = 0
        if self.paused:
            self.emit(ev.Paused(lab.step_number))
        return True

    def _fork_there(self, lab: Lab, command: dict[str, Any]) -> None:
        """Back to a checkpoint and a fork there, or neither."""
        rest = {k: v for k, v in command.items() if k != "checkpoint"}
        cue = self._cue(lab, rest)
        if not isinstance(cue, ForkCue):
            return
        try:
            check_fork(lab, _step(command["checkpoint"]), cue)
        except (ValueError, OSError) as error:
            self.emit(ev.Refused(lab.step_number, command, str(error)))
            return
        if self._rewind(lab, command, command["checkpoint"]):
            self._change(lab, rest)

    def _pause(self, lab: Lab, origin: str) -> None:
        if not self.paused:
            self.paused = True
            self.emit(ev.Paused(lab.step_number, origin))

    def _change(self, lab: Lab, command: dict[str, Any]) -> None:
        """Any other command is a cue for now."""
        if (cue := self._cue(lab, command)) is not None:
            apply_cue.apply(lab, cue, "command")

    def _cue(self, lab: Lab, command: dict[str, Any]) -> Cue | None:
        """A command as a cue; refused where it is none."""
        try:
            named = spec.expand({"cues": [command | {"at": lab.step_number}]})["cues"][0]
            return CUE.validate_python(named)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            self.emit(ev.Refused(lab.step_number, command, f"not a command: {reason}"))
            return None

    # --- beginning and end ---

    def _announce(self, plan: Scenario, device: torch.device) -> None:
        self.emit(
            ev.RunStarted(
                ev.SCHEMA, self.run_dir.resolve().name, plan.complete(), plan.seed, device.type,
                self.threads, plan.train.steps, _versions(), machine(),
                datetime.now(UTC).isoformat(timespec="seconds"),
                _predicted(plan, device, self.threads),
            )
        )  # fmt: skip
        self.emit(ev.PhaseChanged("starting", 0))

    def _go_back(self, lab: Lab) -> None:
        """Restore the newest checkpoint; what was done by hand after it is done again at the same
        steps."""
        found = checkpoint.newest(self.run_dir)
        step = found[0] if found else 0
        resumed = ev.Resumed(step)
        self.emit(resumed)
        by_hand = directory.recorded_cues(self.recorded)
        kept = directory.recorded_cues([*self.recorded, (0.0, resumed)])
        waiting = [*(lab_checkpoint.restore(lab, found[1]) if found else []), *by_hand[len(kept) :]]
        again = [(CUE.validate_python(cue), "command") for cue in waiting]
        ahead = sorted([*lab.cues[lab.cues_done :], *again], key=lambda c: c[0].at)
        lab.cues[lab.cues_done :] = ahead
        if again:  # so that they are not lost if this stretch is cut off before their step
            lab_checkpoint.save(lab)
        for event in (
            e for _, e in directory.in_force(self.recorded) if isinstance(e, ev.Evaluated)
        ):
            if event.step == step:
                lab.evaluated = (step, len(lab.lanes))

    def _end(self, lab: Lab | None, status: str) -> None:
        if lab is None:
            self.emit(ev.Ended(0, status))
            return
        digest = lab_checkpoint.digest(lab) if status == "done" else ""
        self.emit(ev.Ended(lab.step_number, status, lab.clock.now(), digest))


def _step(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("name the step of a checkpoint")
    return value


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def _predicted(plan: Scenario, device: torch.device, threads: int) -> dict[str, dict[str, int]]:
    """Bytes by phase and owner before anything is loaded; empty where that cannot be told."""
    room = None
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory
    try:
        return estimate.predict(plan, device.type, threads, room).phases
    except RequestError:
        return {}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("grpolab", "torch", "transformers", "peft", "tokenizers", "bitsandbytes"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
