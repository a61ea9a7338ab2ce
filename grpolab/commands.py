"""What each command does: one function per command, of the same name, from parsed arguments to an
exit code.
"""

from __future__ import annotations

import gc
import json
import os
import shlex
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from grpolab.errors import RequestError
from grpolab.launch import Engine, Request, RunIsDone, environment, python
from grpolab.tui import first_frame

if TYPE_CHECKING:
    from grpolab.estimate.machine import Machine
    from grpolab.scenario.load import Change
    from grpolab.scenario.spec import Scenario
    from grpolab.tui.compare.seeds import SeedRuns


def default(args: Namespace) -> int:
    """`grpolab` alone."""
    return _lab(Request("default"), headless=not has_screen(), as_json=False)


def run(args: Namespace) -> int:
    if args.resume is not None:
        changed = {"SCENARIO": args.scenario, "--algorithm": args.algorithm, "--model": args.model}
        changed |= {"--quantize": args.quantize, "--seed": args.seed}
        changed |= {"--set": args.settings or None, "--out": args.out}
        if given := [name for name, value in changed.items() if value is not None]:
            raise RequestError(
                f"--resume continues the run as it was recorded; leave out {', '.join(given)}"
            )
        request = Request(
            resume=args.resume,
            back_to=args.back_to,
            further=args.steps or 0,
            device=args.device,
            threads=args.threads,
        )
    elif args.back_to is not None:
        raise RequestError("--from names a step of the run to resume: --resume RUN --from STEP")
    else:
        request = Request(
            scenario=args.scenario or "default",
            changes=_changes(args),
            out=args.out,
            device=args.device,
            threads=args.threads,
        )
    headless = args.headless or args.json or not has_screen()
    return _lab(request, headless=headless, as_json=args.json)


def _changes(args: Namespace) -> list[Change]:
    """The options of `run`, `check` and `doctor` that change the scenario. Raises RequestError."""
    names = ("algorithm", "model", "quantize", "steps", "seed")
    options = {n: value for n in names if (value := getattr(args, n, None)) is not None}
    if not options and not args.settings:
        return []
    from grpolab.scenario.load import changes

    return changes(**options, settings=args.settings)


def has_screen() -> bool:
    """Whether there is a terminal, or a browser, to draw on and to read keys from."""
    if "WebDriver" in os.environ.get("TEXTUAL_DRIVER", ""):  # a page of `grpolab serve`
        return True
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _lab(
    request: Request, *, headless: bool, as_json: bool, notice: str = "",
    seeds: SeedRuns | None = None,
) -> int:  # fmt: skip
    """Start the engine, then load and show its viewer. The engine has ended when this returns.
    `notice` is shown on the screen; `seeds` are runs of further seeds, computed behind it.
    """
    known = 0
    if request.resume is not None:
        from grpolab.record import directory

        events = directory.find(request.resume) / directory.EVENTS
        known = events.stat().st_size if events.exists() else 0
    # before the screen is imported: the two load side by side
    engine = Engine.boot(replace(request, stay=not headless))
    try:
        if headless:
            from grpolab.headless import run as view

            return view.run(engine, as_json=as_json, known=known)
        # the first frame does not wait for the check
        with first_frame.shown("live", notice) as frame:
            return _screen().open_live(None, engine, notice, frame, seeds)
    except RunIsDone as done:
        print(
            f"{done.run_dir} is done: all its steps are computed; train on with\n"
            f"  grpolab run --resume {shlex.quote(str(done.run_dir))} --steps N",
            file=sys.stderr,
        )
        return _report(done.run_dir) if as_json else 0
    finally:
        engine.close()


def _screen() -> ModuleType:
    """The screen's module. Collecting garbage while it loads would cost a tenth of the wait for the
    first frame; the screen turns the collector on again behind it.
    """
    gc.disable()
    from grpolab.tui import app

    return app


def _report(run_dir: Path) -> int:
    from grpolab.headless.report import report
    from grpolab.record.directory import EVENTS
    from grpolab.record.state import LabState
    from grpolab.record.tail import stream

    state = LabState()
    for batch in stream(run_dir / EVENTS):
        for t, event in batch:
            state.apply(event, t)
    print(json.dumps(report(state, run_dir), ensure_ascii=False))
    return 0


def replay(args: Namespace) -> int:
    from tempfile import TemporaryDirectory

    from grpolab.record import merge

    runs = merge.runs_of(args.run)
    if len(runs) == 1:
        return _replay(_recorded(str(runs[0])), args)
    with TemporaryDirectory(prefix="grpolab-") as folder:
        print(f"merging {len(runs)} runs side by side", file=sys.stderr)
        together = Path(folder) / f"{len(runs)} runs"  # what the first frame calls it
        together.mkdir()
        return _replay(merge.merge(runs, together), args)


def _replay(run_dir: Path, args: Namespace) -> int:
    if args.headless or args.json or not has_screen():
        from grpolab.headless import run as headless_run

        return headless_run.replay(run_dir, speed=args.speed, as_json=args.json)
    speed = args.speed or 1.0
    with first_frame.shown("replay", run_dir.name, speed) as frame:
        return _screen().open_replay(run_dir, speed, frame)


def plot(args: Namespace) -> int:
    from grpolab.headless.plot import plot as draw

    return draw(args)


def watch(args: Namespace) -> int:
    from grpolab.record import directory

    run_dir = directory.find(args.run)
    if args.headless or args.json or not has_screen():
        from grpolab.headless import run as headless_run

        return headless_run.watch(run_dir, as_json=args.json)
    with first_frame.shown("watch", run_dir.name) as frame:
        return _screen().open_watch(run_dir, frame)


def rerun(args: Namespace) -> int:
    from grpolab.headless.rerun import rerun as compute

    return compute(_recorded(args.run), out=Path(args.out) if args.out else None, as_json=args.json)


def compare(args: Namespace) -> int:
    from grpolab.headless import compare as comparison
    from grpolab.record import directory

    plan = comparison.Plan.of(args)
    if args.headless or args.json or args.markdown or not has_screen():
        return comparison.run(plan, as_json=args.json, as_markdown=args.markdown)
    runs = comparison.labs(plan)
    first = next((seed for seed, run in runs.items() if not directory.is_done(run)), None)
    if first is None:
        args.run, args.speed = [str(next(iter(runs.values())).parent)], None
        return replay(args)
    threads = plan.threads or (plan.share if plan.jobs > 1 else None)
    request = Request(resume=str(runs[first]), device=args.device, threads=threads)
    if len(runs) == 1:
        return _lab(request, headless=False, as_json=False)
    import shlex

    from grpolab.tui.compare.seeds import SeedRuns

    again = shlex.join([*plan.command, f"--out={runs[first].parent}"])
    further = {seed: run for seed, run in runs.items() if seed != first}
    seeds = SeedRuns(
        first, further, device=args.device, threads=threads, at_once=plan.jobs, again=again
    )
    return _lab(request, headless=False, as_json=False, seeds=seeds)


def _recorded(ref: str) -> Path:
    """A run directory that has events. Raises RequestError."""
    from grpolab.record import directory

    run_dir = directory.find(ref, shipped=True)
    if directory.opening(run_dir) is None:
        raise RequestError(f"{run_dir}: nothing is recorded in its {directory.EVENTS}")
    return run_dir


def check(args: Namespace) -> int:
    if args.schema:
        from grpolab.scenario.spec import schema

        print(json.dumps(schema(), indent=2, ensure_ascii=False))
        return 0
    if args.scenario is None:
        raise RequestError("grpolab check: name a scenario, or ask for --schema")
    scenario = _scenario(args.scenario, args)
    from grpolab.estimate import doctor

    verdict, problem = None, ""
    try:
        verdict = doctor.judge(scenario, args.device, _machine(args))
    except RequestError as error:  # a model that is not here yet is no mistake in the scenario
        problem = str(error)
    if args.json:
        out = scenario.complete()
        out["memory"] = verdict.data if verdict is not None else {"problem": problem}
        print(json.dumps(out, indent=2, ensure_ascii=False))
        return 0
    lanes = ", ".join(f"{lane.name} ({lane.algorithm.name})" for lane in scenario.lanes)
    length = f"{scenario.train.steps} steps"
    length += f", {len(scenario.cues)} cues" if scenario.cues else ""
    print(f"{args.scenario}: ok: task {scenario.task.name}, lanes {lanes}, {length}")
    print("\n".join(doctor.verdict_lines(verdict) if verdict is not None else [problem]))
    return 0


def doctor(args: Namespace) -> int:
    from grpolab.estimate import doctor as examination

    scenario = _scenario(args.scenario or "default", args)
    return examination.doctor(scenario, device=args.device, as_json=args.json, found=_machine(args))


def _scenario(ref: str, args: Namespace) -> Scenario:
    """The scenario that was named, with the options' changes. Raises RequestError."""
    from grpolab.scenario.load import load

    return load(ref, _changes(args))


def _machine(args: Namespace) -> Machine | None:
    """This machine with the threads that were asked for; None where none were."""
    if args.threads is None:
        return None
    from grpolab.estimate.machine import machine

    return replace(machine(), threads=args.threads)


def lens(args: Namespace) -> int:
    """The request is checked here; a child computes, so that no viewer ever loads torch."""
    import subprocess

    from grpolab.lens.ask import Ask

    Ask.of(args)
    options = {"--step": args.step, "--lane": args.lane, "--algorithm": args.algorithm}
    options |= {"--preset": args.preset, "--explain": args.explain, "--disagree": args.disagree}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    given += [f"--set={text}" for text in args.settings] + ["--json"] * args.json
    command = python("-m", "grpolab.lens", *given, "--", args.source)
    code = subprocess.run(command, env=environment(), check=False).returncode
    return code if code >= 0 else 1


def algorithms(args: Namespace) -> int:
    from grpolab.headless import catalog

    return catalog.algorithms(args.name, as_json=args.json, other=args.diff, lineage=args.lineage)


def scenarios(args: Namespace) -> int:
    from grpolab.headless import catalog

    return catalog.scenarios(args.name, as_json=args.json)


def serve(args: Namespace) -> int:
    from grpolab.serve import serve as begin

    return begin(args.rest, args.host, args.port, args.top)


def grade(args: Namespace) -> int:
    from grpolab.headless.grade import grade as apply

    return apply(args.scenario, args.file)


def completion(args: Namespace) -> int:
    from grpolab.headless.completion import script

    print(script(args.top, args.shell))
    return 0
