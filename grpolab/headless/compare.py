"""Algorithms side by side: every algorithm with every seed is one ordinary run, in an engine
process of its own and with the same prompts and sampling seeds.

A comparison is a folder with a run directory `<algorithm>-<seed>` for each of them, and with
report.md and report.json once they are computed. All run directories are created before the first
run starts, so editing the scenario meanwhile changes nothing. An interrupted comparison continues
where it stopped, and asking for more seeds or algorithms computes only those.
"""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpolab.errors import RequestError
from grpolab.headless import compare_table as table
from grpolab.headless import plot
from grpolab.headless.compare_table import Run
from grpolab.launch import default_threads
from grpolab.record import directory
from grpolab.scenario import load

if TYPE_CHECKING:
    from grpolab.headless.compare_jobs import Job
    from grpolab.scenario.spec import Scenario

REPORT = "report"


@dataclass(frozen=True)
class Plan:
    """What is to be compared, checked."""

    entrants: Mapping[str, Scenario]  # by name, `grpo` or `grpo:verl`; with the first seed
    seeds: Sequence[int]
    out: Path | None
    jobs: int
    threads: int | None  # of each engine; None: a share of the CPUs
    device: str
    command: tuple[str, ...]  # the command line that asks for it, without --out

    @classmethod
    def of(cls, args: Namespace) -> Plan:
        """The plan of a parsed command line. Raises RequestError."""
        changes = load.changes(
            model=args.model,
            quantize=args.quantize,
            steps=args.steps,
            seed=args.seed,
            settings=args.settings,
        )
        entrants = {n: _entrant(args.scenario, n, changes) for n in _names(args.algorithms)}
        first = next(iter(entrants.values())).seed
        command = ["grpolab", "compare", args.scenario, f"--algorithms={args.algorithms}"]
        for option in ("model", "quantize", "seed", "seeds", "steps", "jobs", "threads"):
            if (value := getattr(args, option)) is not None:
                command.append(f"--{option}={value}")
        command += [f"--device={args.device}"] * (args.device != "auto")
        command += [f"--set={text}" for text in args.settings]
        return cls(
            entrants=entrants,
            seeds=range(first, first + args.seeds),
            out=Path(args.out) if args.out else None,
            jobs=args.jobs,
            threads=args.threads,
            device=args.device,
            command=tuple(command),
        )

    @property
    def scenario(self) -> Scenario:
        return next(iter(self.entrants.values()))

    @property
    def share(self) -> int:
        """Threads of one engine by default."""
        return default_threads(self.jobs)


def _names(text: str) -> list[str]:
    """The names in `a,b:preset,all`, each once. Raises RequestError if there is none."""
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name == "all":
            from grpolab.algorithms import ALGORITHMS

            names += ALGORITHMS
        else:
            names.append(name)
    if not names:
        raise RequestError("--algorithms: name at least one, as in grpo,ppo, or all")
    return list(dict.fromkeys(names))


def _entrant(ref: str, name: str, changes: Iterable[load.Change]) -> Scenario:
    """The scenario as `grpolab run --algorithm` would take it. Raises RequestError."""
    algorithm, colon, preset = name.partition(":")
    value = {"name": algorithm, "preset": preset} if colon else algorithm
    found = load.load(ref, [(f"--algorithms {name}", "algorithm", value), *changes])
    if len(found.lanes) > 1 or any(cue.do == "fork" for cue in found.cues):
        raise RequestError(f"{ref}: has several lanes; a comparison needs a scenario of one")
    section = found.lanes[0].algorithm
    if section.name != algorithm or (colon and section.preset != preset):
        raise RequestError(f"--set: --algorithms says {name}, and --set another algorithm")
    return found


def lay_out(plan: Plan, out: Path) -> list[Job]:
    """Create a run directory for every run, seed by seed; existing ones must have this scenario.

    Raises RequestError.
    """
    from grpolab.headless.compare_jobs import Job

    if out.is_dir() and any(out.iterdir()) and not any(out.glob(f"*/{directory.SCENARIO}")):
        raise RequestError(f"--out {out}: the folder is not empty, and holds no comparison")
    runs = {
        out / f"{name.replace(':', '_')}-{seed}": (name, first.model_copy(update={"seed": seed}))
        for seed in plan.seeds
        for name, first in plan.entrants.items()
    }
    new = [run for run in runs if not (run / directory.SCENARIO).is_file()]
    for run, (_, scenario) in runs.items():
        if run not in new:
            _must_be(scenario, run)
    for run in new:
        directory.create(runs[run][1], run)
    return [Job(run, name, s.seed, s.train.steps) for run, (name, s) in runs.items()]


def _must_be(scenario: Scenario, run: Path) -> None:
    """Raises RequestError if the existing run has another scenario; its name and its description
    compute nothing and do not count.
    """
    there = load.load(str(run))
    words = {"name": scenario.name, "description": scenario.description}
    if found := _difference(there.complete() | words, scenario.complete()):
        key, then, now = found
        raise RequestError(
            f"{run}: was started with {key} {then}, not {now}; ask for the same, or give "
            "another --out"
        )


def _difference(a: Any, b: Any, key: str = "") -> tuple[str, str, str] | None:
    """The first key whose values differ, as --set spells it, and both values."""
    if isinstance(a, list) and isinstance(b, list):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict) and isinstance(b, dict):
        for k in dict.fromkeys([*a, *b]):
            if found := _difference(a.get(k), b.get(k), f"{key}.{k}".removeprefix(".")):
                return found
        return None
    return None if a == b else (key, json.dumps(a), json.dumps(b))


def run(plan: Plan, *, as_json: bool = False, as_markdown: bool = False) -> int:
    """Compute what is missing and report on all runs: 0 done, 1 some failed, 130 interrupted.

    Raises RequestError.
    """
    from grpolab.headless.compare_jobs import Ticker, compute
    from grpolab.launch import interruptible

    out = plan.out or directory.fresh(f"compare-{plan.scenario.name}")
    jobs = lay_out(plan, out)
    with interruptible(), Ticker(jobs) as ticker:
        known = sum(job.done for job in jobs)
        threads = table.count(plan.threads or plan.share, "thread")
        ticker.say(
            f"{table.count(len(jobs), 'run')} in {out}, {plan.jobs} at a time with {threads} each"
            + (f"; {known} done already" if known else "")
        )
        interrupted = compute(
            jobs, ticker, at_once=plan.jobs, threads=plan.threads, share=plan.share,
            device=plan.device,
        )  # fmt: skip
        undone = [job for job in jobs if not job.done]
        found = result(plan, out, jobs)
        for suffix, text in (("json", _dumped(found)), ("md", table.page(found))):
            (out / f"{REPORT}.{suffix}").write_text(text + "\n", encoding="utf-8")
        ticker.say(f"report: {out / REPORT}.md")
        if undone:
            ticker.say(f"not done: {len(undone)} of {table.count(len(jobs), 'run')}; resume:")
            ticker.say(shlex.join(found["command"]))
    if as_json:
        print(_dumped(found))
    elif len(undone) < len(jobs):
        print(table.markdown(found) if as_markdown else table.text(found))
        if not as_markdown:
            plot.under_table(found["algorithms"])
    return 0 if not undone else 130 if interrupted else 1


def _dumped(found: Mapping[str, Any]) -> str:
    return json.dumps(found, ensure_ascii=False)


def result(plan: Plan, out: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """The comparison as one JSON object."""
    runs: dict[str, list[Run]] = {name: [] for name in plan.entrants}
    for job in jobs:
        runs[job.algorithm].append(job.found or job.result())
    samples, algorithms = table.summarize(runs)
    begun = [r for found in runs.values() for r in found if r["status"] != "not started"]
    unknown = {"device": plan.device, "machine": "", "threads": plan.threads or plan.share}
    first = begun[0] if begun else unknown | {"versions": {}}
    whence = ("device", "machine", "threads", "versions")
    notes = [
        f"the runs differ in {key}: their times are not comparable"
        for key in whence
        if any(r[key] != first[key] for r in begun)
    ]
    for name, found in runs.items():
        for r in found:
            if r["status"] != "done":
                why = f" ({table.first_line(r['error'])})" if "error" in r else ""
                notes.append(f"{name}, seed {r['seed']}: {r['status']}{why}, not in the means")
    cues = [f"{c.do} at step {c.at}" for c in plan.scenario.cues if c.do in ("switch", "set")]
    if cues:
        notes.append(f"the scenario's cues apply to every run: {', '.join(cues)}")
    return {
        "scenario": plan.scenario.name, "steps": plan.scenario.train.steps,
        "seeds": list(plan.seeds), "samples": samples, "algorithms": algorithms,
        **{key: first[key] for key in whence}, "jobs": plan.jobs, "out": str(out),
        "command": [*plan.command, f"--out={out}"], "notes": notes,
    }  # fmt: skip


def labs(plan: Plan) -> dict[int, Path]:
    """For each seed a run directory whose lab has a lane for each algorithm: --out itself where
    there is one seed, else folders `seed-<number>` in it. Existing ones must have this scenario.

    Raises RequestError.
    """
    out = plan.out or directory.fresh(f"compare-{plan.scenario.name}")
    whole = side_by_side(plan)
    if len(plan.seeds) == 1:
        return {plan.seeds[0]: directory.create(whole, out)}
    if out.is_dir() and any(out.iterdir()) and not any(out.glob(f"seed-*/{directory.SCENARIO}")):
        raise RequestError(f"--out {out}: the folder is not empty, and holds no comparison")
    runs = {seed: out / f"seed-{seed}" for seed in plan.seeds}
    wanted = {seed: whole.model_copy(update={"seed": seed}) for seed in runs}
    new = [seed for seed, run in runs.items() if not (run / directory.SCENARIO).is_file()]
    for seed, run in runs.items():
        if seed not in new:
            _must_be(wanted[seed], run)
    for seed in new:
        directory.create(wanted[seed], runs[seed])
    return runs


def side_by_side(plan: Plan) -> Scenario:
    """The scenario with a lane for each algorithm, on the first seed."""
    from grpolab.scenario.spec import build

    whole = plan.scenario.complete()
    lane = whole["lanes"][0]["name"]
    whole["lanes"] = [
        {"name": name, "algorithm": s.complete()["lanes"][0]["algorithm"]}
        for name, s in plan.entrants.items()
    ]
    for cue in whole["cues"]:
        if cue.get("lane") == lane:
            cue["lane"] = None  # every lane
    return build(whole)
