"""The start of an engine process: check the request, make the run directory, report it, and become
the engine.

Run by `launch.Engine.boot` as `python -m grpolab.boot REQUEST`. One JSON line on stdout is the
result: `{"grpolab": {"run": DIR}}`, `{"done": DIR}` or `{"error": LINE}`. The check takes as long
as opening a screen, so both happen at the same time, and the engine need not import again what the
check imported.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from pathlib import Path

from grpolab import launch
from grpolab.errors import RequestError
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.tail import read
from grpolab.scenario import load


def prepare(request: launch.Request) -> tuple[Path, list[str]]:
    """The run directory for a request, and the engine's command line for it.

    Raises RequestError, and RunIsDone for a run that has nothing left to compute.
    """
    threads, device = request.threads, request.device
    if request.resume is None:
        scenario = load.load(request.scenario, request.changes)
        run = directory.create(scenario, Path(request.out) if request.out else None)
        return run, launch.engine_arguments(run, threads, device, resume=False, stay=request.stay)
    run = directory.find(request.resume)
    load.load(str(run / directory.SCENARIO))
    end, opening = directory.ending(run), directory.opening(run)
    if request.back_to is not None:
        _check_checkpoint(run, request.back_to)
    elif end is not None and end.status == "done" and not request.further:
        raise launch.RunIsDone(run)
    if request.further:
        _check_further(run, request.further, request.back_to)
    if opening is not None:  # the digest depends on both
        threads = threads or opening.threads
        device = opening.device if device == "auto" else device
    return run, launch.engine_arguments(
        run,
        threads,
        device,
        resume=opening is not None,
        back_to=request.back_to,
        further=request.further,
        stay=request.stay,
    )


def _check_checkpoint(run: Path, step: int) -> None:
    """Check that a run has a checkpoint of this step, or that it is step 0. Raises RequestError."""
    there = [0, *(n for n, _ in directory.checkpoints(run))]
    if directory.opening(run) is None:
        raise RequestError(f"--from {step}: {run} has not begun yet")
    if step not in there:
        known = ", ".join(map(str, there))
        raise RequestError(f"--from {step}: {run} has checkpoints of the steps {known}")


def _check_further(run: Path, further: int, back_to: int | None) -> None:
    """Check that so many steps more do not end before the run's planned end. Raises
    RequestError."""
    events = read(run / directory.EVENTS)
    if not any(isinstance(e, ev.RunStarted) for _, e in events):
        raise RequestError(f"--steps {further}: {run} has not begun yet; resume it without --steps")
    step = back_to
    if step is None:
        step = max((n for n, _ in directory.checkpoints(run)), default=0)
    else:
        events = [*events, (0.0, ev.Resumed(step))]
    planned = directory.planned_steps(events)
    if step + further < planned:
        raise RequestError(
            f"--steps {further}: {run} resumes at step {step} of {planned}; leave out --steps for "
            f"the {planned - step} that are left, or give more"
        )


def main(argument: str) -> None:
    """Check the request, report the result, then become `python -m grpolab.engine`."""
    gc.disable()  # the engine turns it on again once it is open
    request = launch.Request(**json.loads(argument))
    try:
        run, arguments = prepare(request)
        log = _own_log(run)
    except RequestError as error:
        _say({"error": str(error)})
        raise SystemExit(2) from None
    except launch.RunIsDone as done:
        _say({"done": str(done.run_dir)})
        raise SystemExit(0) from None
    _say({"run": str(run)})
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.argv = ["grpolab.engine", *arguments]
    runpy.run_module("grpolab.engine", run_name="__main__", alter_sys=True)


def _own_log(run: Path) -> int:
    """engine.log, locked until this process ends: two engines must not write one run.

    Raises RequestError where another process has the lock.
    """
    log = os.open(run / directory.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        import fcntl

        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # not a Unix
        pass
    except OSError:
        raise RequestError(
            f"{run}: another process computes this run; see it with `grpolab watch {run}`"
        ) from None
    return log


def _say(verdict: dict[str, str]) -> None:
    sys.stdout.write(json.dumps({"grpolab": verdict}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
