"""The engine process: opens a run, reads commands from its stdin, drives the lab, and writes
whatever happens as events."""

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
from grpolab.engine.lab import Clock, Lab
from grpolab.engine.lab_checkpoint import check_fork, rewind
from grpolab.errors import RequestError
from grpolab.estimate import memory as estimate
from grpolab.estimate.machine import cpu_name
from grpolab.record import codec, directory, tail
from grpolab.record import events as ev
from grpolab.scenario import load, spec
from grpolab.scenario.spec import Cue, ExtendCue, ForkCue, Scenario

CUE: TypeAdapter[Cue] = TypeAdapter(Cue)
DONE, FAILED, INTERRUPTED = 0, 1, 130


class Writer:
    """The only writer of events.jsonl: whole lines, flushed at once, from any thread. `offset`:
    seconds that the run has taken so far."""

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
        """Write this event and block every later one: the process is about to exit."""
        self(event)
        self._lock.acquire()


class Host:
    """One engine process on one run directory.

    `started`: perf_counter when the process began. `back_to`: a resume goes back to this step's
    checkpoint instead of the newest. `further`: steps to train from there, also beyond the
    run's end. `stay`: at its end the run pauses until it is continued or stopped.
    """

    def __init__(
        self,
        run_dir: Path,
        device: str,
        threads: int,
        *,
        resume: bool,
        started: float,
        back_to: int | None = None,
        further: int = 0,
        stay: bool = False,
    ) -> None:
        self.back_to, self.further, self.stay = back_to, further, stay
        self.clock = Clock(started=started)
        self.run_dir, self.threads, self.resume, self.started = run_dir, threads, resume, started
        self.recorded = tail.read(run_dir / directory.EVENTS) if resume else []
        offset = max((t for t, _ in self.recorded), default=0.0)
        self.emit = Writer(run_dir / directory.EVENTS, offset + (time.perf_counter() - started))
        self.device_name = device
        self.commands: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stopping = False
        self.opening = not resume  # nothing is computed yet, so a stop loses nothing
        self.paused = False
        self.single = 0  # steps still to make while paused

    def run(self) -> int:
        """Compute the run; returns the process's exit code. A failure becomes an event beside its
        traceback in engine.log."""
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
            lab = Lab(
                plan=plan,
                run_dir=self.run_dir,
                emit=self.emit,
                device=device,
                threads=self.threads,
                clock=self.clock,
            )
            self.opening = False
            gc.freeze()
            gc.enable()  # __main__ has turned it off
            if self.resume:
                self._go_back(lab)
                if self.back_to is not None:
                    rewind(lab, self.back_to)
                self._go_further(lab)
            lab.clock.seconds["startup"] += time.perf_counter() - self.started
            self._loop(lab)
        except Exception as error:
            traceback.print_exc()
            step = lab.step_number if lab else 0
            self.emit(
                ev.Failed(
                    step=step,
                    error=f"{type(error).__name__}: {error}",
                    where="working" if lab else "starting",
                    trace=traceback.format_exc(),
                )
            )
            self._end(lab, "failed")
            return FAILED
        done = lab.at_end
        self._end(lab, "done" if done else "interrupted")
        return DONE if done else INTERRUPTED

    def _loop(self, lab: Lab) -> None:
        if lab.step_number == 0:
            lab.evaluate()
        while True:
            if "pause" in lab.apply_cues():
                self._pause(lab, "cue")
            self._take_commands(lab)  # after the scenario's own cues of this step, as in a rerun
            self._meet_end(lab)
            while self.paused and not self.single and not self.stopping:
                lab.phase("waiting")
                since = time.perf_counter()
                command = self.commands.get()
                lab.clock.started += time.perf_counter() - since  # waiting is no work
                self._obey(lab, command)
                self._take_commands(lab)
                self._meet_end(lab)
            if lab.cues_due:  # a rewind brought them back
                continue
            if self.stopping or lab.at_end:
                break
            self.single = max(0, self.single - 1)
            lab.advance()
        if lab.saved != lab.step_number:
            lab.phase("stopping")
            lab_checkpoint.save(lab)

    def _meet_end(self, lab: Lab) -> None:
        """At the end of a run that stays: take the single steps that were asked for, or pause."""
        if not self.stay or self.stopping or not lab.at_end or lab.cues_due:
            return
        if self.single:
            self._extend(lab)
        else:
            self._pause(lab, "end")

    def _extend(self, lab: Lab) -> None:
        """Extend the run by as many steps as it began with."""
        apply_cue.extend(lab, lab.step_number + max(1, lab.first.train.steps), "command")

    # --- commands ---

    def _listen(self) -> None:
        """Queue the commands on stdin, one JSON object per line. The end of stdin is a stop: the
        viewer is gone."""
        for line in sys.stdin:
            try:
                command = json.loads(line)
            except ValueError:
                command = None
            if isinstance(command, dict):
                self._take(command)
        self._take({"do": "stop"})

    def _take(self, command: dict[str, Any]) -> None:
        """Queue a command until the step under way is done. A stop while the model is loaded or
        kernels are compiled ends the process at once: that can take long, and nothing is lost."""
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
            self._continue(lab)
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
        """Go back to a checkpoint; False where that was refused. A paused run stays paused."""
        try:
            rewind(lab, _step(to))
        except (ValueError, OSError) as error:
            self.emit(ev.Refused(lab.step_number, command, str(error)))
            return False
        self.single = 0
        if self.paused:
            at_end = self.stay and lab.at_end and not lab.cues_due
            self.emit(ev.Paused(lab.step_number, "end" if at_end else "command"))
        return True

    def _fork_there(self, lab: Lab, command: dict[str, Any]) -> None:
        """Go back to a checkpoint and fork a lane there; does neither where one is refused."""
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

    def _continue(self, lab: Lab) -> None:
        """End a pause; at the end of the run, extend it."""
        if self.paused:
            if self.stay and lab.at_end and not lab.cues_due:
                self._extend(lab)
            self.paused = False
            self.emit(ev.Continued(lab.step_number))

    def _change(self, lab: Lab, command: dict[str, Any]) -> None:
        """Apply any other command as a cue of this step. With `"then": "continue"`, the training
        continues from the run's end if that was not refused."""
        then = command.get("then")
        cue = self._cue(lab, {k: v for k, v in command.items() if k != "then"})
        done = cue is not None and apply_cue.apply(lab, cue, "command")
        if done and then == "continue" and lab.at_end:
            self._continue(lab)

    def _cue(self, lab: Lab, command: dict[str, Any]) -> Cue | None:
        """A command as a cue; None, with a refusal in the events, where it is not one."""
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
                schema=ev.SCHEMA,
                run=self.run_dir.resolve().name,
                scenario=plan.complete(),
                seed=plan.seed,
                device=device.type,
                threads=self.threads,
                steps=plan.train.steps,
                versions=_versions(),
                machine=cpu_name(),
                started=datetime.now(UTC).isoformat(timespec="seconds"),
                predicted_memory=_predicted(plan, device, self.threads),
            )
        )
        self.emit(ev.PhaseChanged("starting", 0))

    def _go_back(self, lab: Lab) -> None:
        """Restore the newest checkpoint, or begin again at step 0 where there is none. Commands
        given after it are queued as cues of the same steps."""
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
        if again:  # or they would be lost if the engine ended before their step
            lab_checkpoint.save(lab)
        for event in (
            e for _, e in directory.in_force(self.recorded) if isinstance(e, ev.Evaluated)
        ):
            if event.step == step:
                lab.evaluated = (step, len(lab.lanes))

    def _go_further(self, lab: Lab) -> None:
        """Extend a resumed run by `further` steps, after the changes that are queued for its step:
        as a cue, which a rerun repeats."""
        to = lab.step_number + self.further
        if not self.further or to <= lab.plan.train.steps:
            return
        cue = ExtendCue(at=lab.step_number, do="extend", to=to)
        ahead = [*lab.cues[lab.cues_done :], (cue, "command")]
        lab.cues[lab.cues_done :] = sorted(ahead, key=lambda c: c[0].at)

    def _end(self, lab: Lab | None, status: str) -> None:
        digest = lab_checkpoint.digest(lab) if lab and status == "done" else ""
        step = lab.step_number if lab else 0
        self.emit(ev.Ended(step, status, self.clock.now(), digest))


def _step(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("give the step of a checkpoint as an integer")
    return value


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("--device cuda: torch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def _predicted(plan: Scenario, device: torch.device, threads: int) -> dict[str, dict[str, int]]:
    """Predicted bytes by phase and owner; empty where the model's config cannot be read."""
    room = None
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory
    try:
        return estimate.predict(plan, device.type, threads, room).phases
    except RequestError:
        return {}


def _versions() -> dict[str, str]:
    """Versions of the installed packages that results may depend on."""
    found = {}
    for package in ("grpolab", "torch", "transformers", "peft", "tokenizers", "bitsandbytes"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
