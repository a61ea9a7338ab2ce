"""The engine's first tenth of a second: check the request, make the run directory, say so, and
become the engine.

Run by `launch.Engine.boot` as `python -m grpolab.boot REQUEST`. One JSON line on stdout is the
verdict: `{"grpolab": {"run": DIR}}`, `{"done": DIR}` or `{"error": LINE}`. The check costs as much
as opening a screen, so the two happen side by side, and what the check imported the engine need not
import again.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

from grpolab import launch, rundir, scenario_file
from grpolab.problems import RequestError


def prepare(request: launch.Request) -> tuple[Path, int | None]:
    """The run directory that the request asks for, and the thread count that its run was recorded
    with.

    Raises RequestError, and RunIsDone for a run that has nothing left to compute.
    """
    if request.resume is None:
        scenario = scenario_file.load(request.scenario, request.changes)
        return rundir.create(scenario, Path(request.out) if request.out else None), request.threads
    run = rundir.find(request.resume)
    scenario_file.load(str(run / rundir.SCENARIO))
    end = rundir.ending(run)
    if end is not None and end.status == "done":
        raise launch.RunIsDone(run)
    opening = rundir.opening(run)
    return run, request.threads or (
        opening.threads if opening else None
    )  # the digest depends on the threads


def main(argument: str) -> None:
    """Answer the request, then turn into `python -m grpolab.engine`."""
    request = launch.Request(**json.loads(argument))
    try:
        run, threads = prepare(request)
    except RequestError as error:
        _say({"error": str(error)})
        raise SystemExit(2) from None
    except launch.RunIsDone as done:
        _say({"done": str(done.run_dir)})
        raise SystemExit(0) from None
    _say({"run": str(run)})
    log = os.open(run / rundir.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    resume = request.resume is not None and rundir.opening(run) is not None
    sys.argv = ["grpolab.engine", *launch.engine_arguments(run, threads, request.device, resume)]
    runpy.run_module("grpolab.engine", run_name="__main__", alter_sys=True)


def _say(verdict: dict[str, str]) -> None:
    sys.stdout.write(json.dumps({"grpolab": verdict}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
