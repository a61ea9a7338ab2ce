"""`python -m tests.benchmarks.learning`: what the shipped scenarios and all algorithms learn, over
several seeds.

Every run is a headless `grpolab run` of its own, on one thread of a CPU, as many at a time as there
are cores. Scenarios run as they ship; the algorithms run in the default scenario, with its rate.
The result is one JSON object: what was measured on which machine, and one record per lane with
the evaluations of every seed. A run that failed is told, and stands in no record. `python -m
tests.benchmarks.tables` makes the tables from it. Nothing is judged here: exit code 1 says that
some run failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from grpolab import algorithms
from grpolab.headless.plot import fold
from grpolab.headless.report import status
from grpolab.pretrain.tokenizer import build_tokenizer
from grpolab.record import events as ev
from grpolab.record.codec import decode
from grpolab.record.directory import EVENTS
from grpolab.resources import shipped_scenarios
from grpolab.rewards.parse import parse_completion
from grpolab.tasks.words import is_mixed, languages_in
from tests.benchmarks.report import commit, machine

ANSWERS = 5
"""Steps at each end of a run whose answers are looked at."""

TASKS = ("task-sums", "task-countdown", "task-slots", "task-program")
TRIO = ("grpo", "ppo", "reinforce")
SLOW = ("trpo", "vc-ppo", "vapo", "ppo-adaptive-kl", "ppo-kl", "remax")
NOT_LEARNT_HERE = ("qlora",)


Took = Callable[[Sequence[dict[str, Any]]], None]


@dataclass(frozen=True)
class Wanted:
    """One run."""

    scenario: str
    seed: int
    algorithm: str | None = None  # instead of the scenario's
    steps: int | None = None  # instead of the scenario's

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.scenario, self.algorithm, str(self.seed))))

    def command(self, out: Path) -> list[str]:
        words = [sys.executable, "-m", "grpolab", "run", self.scenario, "--headless", "--json"]
        words += ["--device", "cpu", "--threads", "1", "--seed", str(self.seed), "--out", str(out)]
        words += ["--set", "record.stream=false", "--set", "record.tokens=false"]
        words += ["--algorithm", self.algorithm] if self.algorithm else []
        return words + (["--steps", str(self.steps)] if self.steps else [])


def plan(parts: Sequence[str], seeds: int, task_seeds: int) -> list[Wanted]:
    """The runs of some parts, those first that every table needs."""
    found: list[Wanted] = []
    if "tasks" in parts:
        found += [Wanted(name, seed) for seed in range(task_seeds) for name in TASKS]
    if "trio" in parts:
        found += [Wanted("default", seed, name) for seed in range(task_seeds) for name in TRIO]
    if "scenarios" in parts:
        names = [n for n in shipped_scenarios() if n not in (*TASKS, *NOT_LEARNT_HERE)]
        found += [Wanted(name, seed) for seed in range(seeds) for name in names]
    if "algorithms" in parts:
        others = sorted((a.name for a in algorithms.FAMILY if a.name not in TRIO), key=_last)
        found += [Wanted("default", seed, name) for seed in range(seeds) for name in others]
    return found


def _last(name: str) -> bool:
    """Those that take longest begin first."""
    return name not in SLOW


def measure(run: Path, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """One record per lane of a finished run."""
    state = fold(run)
    answers = Answers(run)
    for lane in state.lanes.values():
        kl = lane.series("kl_ref")[1].tolist()
        yield {
            "scenario": wanted.scenario, "algorithm": wanted.algorithm, "lane": lane.name,
            "seed": wanted.seed, "steps": lane.last.step if lane.last else 0,
            "seconds": round(state.time, 1),
            "per_step": round(sum(lane.steps.spent().values()) / max(1, len(lane.steps)), 3),
            "peak_mib": round(lane.steps.peak / 2**20),
            "evals": [[e.step, round(e.accuracy, 4), round(e.greedy_accuracy, 4)]
                      for e in lane.evals],
            "prompts": lane.evals[0].prompts if lane.evals else 0,
            "kl": round(fmean(kl[-10:]), 6) if kl else None,
            "start": answers.start(lane.name), "end": answers.end(lane.name),
        }  # fmt: skip


class Answers:
    """Length of thoughts, format and languages of the answers at both ends of a run."""

    def __init__(self, run: Path) -> None:
        self._tokenizer = build_tokenizer(512)
        self._first: dict[str, list[tuple[list[str], ev.Graded]]] = {}
        self._last: dict[str, deque[tuple[list[str], ev.Graded]]] = {}
        prompts: dict[str, list[str]] = {}
        with (run / EVENTS).open("rb") as file:
            for line in file:
                found = decode(line)
                event = found[1] if found else None
                if isinstance(event, ev.RolloutStarted):
                    size = event.group_size
                    prompts[event.lane] = [p for p in event.prompts for _ in range(size)]
                elif isinstance(event, ev.Graded):
                    pair = prompts[event.lane], event
                    first = self._first.setdefault(event.lane, [])
                    first += [pair] * (len(first) < ANSWERS)
                    self._last.setdefault(event.lane, deque(maxlen=ANSWERS)).append(pair)

    def start(self, lane: str) -> dict[str, float]:
        return self._told(self._first.get(lane, []))

    def end(self, lane: str) -> dict[str, float]:
        return self._told(self._last.get(lane, ()))

    def _told(self, steps: Sequence[tuple[list[str], ev.Graded]]) -> dict[str, float]:
        rows = [
            (prompt, text, parse_completion(text))
            for prompts, graded in steps
            for prompt, text in zip(prompts, graded.text, strict=True)
        ]
        if not rows:
            return {}
        thoughts = [(prompt, parsed.thought or "") for prompt, _, parsed in rows]
        worded = [pair for pair in thoughts if languages_in(pair[1])]
        mixed = [is_mixed(prompt, thought) for prompt, thought in worded]
        return {
            "thought": round(fmean(len(self._tokenizer.encode(t)) for _, t in thoughts), 2),
            "format": round(fmean(parsed.well_formed for *_, parsed in rows), 4),
            "worded": round(len(worded) / len(rows), 4),
            "mixed": round(fmean(mixed), 4) if mixed else 0.0,
        }


def compute(wanted: Sequence[Wanted], jobs: int, seconds: float, out: Path, took: Took) -> int:
    """All runs, as many at a time as asked for; how many failed. None is begun after `seconds`.
    `took` gets the records of each as soon as it is done."""
    begun = time.monotonic()
    failed = 0

    def one(run: Wanted) -> list[dict[str, Any]] | None:
        if time.monotonic() - begun > seconds:
            return None
        folder = out / run.name
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(run.command(folder), capture_output=True, text=True, env=env)
        if done.returncode or status(fold(folder)) != "done":
            last = (done.stderr.strip().splitlines() or ["no reason was told"])[-1]
            raise RuntimeError(f"{run.name}: {last}")
        return list(measure(folder, run))

    with ThreadPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(one, run) for run in wanted]):
            try:
                found = future.result()
            except RuntimeError as error:
                failed += 1
                print(error, file=sys.stderr, flush=True)
                continue
            took(found or [])
            for lane in found or []:
                told = [lane[k] for k in ("scenario", "algorithm", "lane", "seed", "seconds")]
                print(*told, lane["evals"][-1:], file=sys.stderr, flush=True)
    return failed


def write(file: Path, found: dict[str, Any]) -> None:
    """One lane per line, so that a change can be read."""
    head = json.dumps(found["measured"], ensure_ascii=False)
    lanes = ",\n".join(json.dumps(lane, ensure_ascii=False) for lane in found["lanes"])
    file.write_text(f'{{"measured": {head},\n"lanes": [\n{lanes}\n]}}\n', encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = ("tasks", "trio", "scenarios", "algorithms")
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="PART")
    parser.add_argument("--seeds", type=int, default=3, help="of scenarios and algorithms")
    parser.add_argument("--task-seeds", type=int, default=5, help="of tasks and the trio")
    parser.add_argument("--steps", type=int, help="of every run, to try it out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no run after these")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="written here")
    parser.add_argument("--add", type=Path, metavar="FILE", help="keep this file's other lanes")
    options = parser.parse_args(words)
    told = machine()
    measured = {
        "processor": told["processor"], "cpus": told["cpus"], "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m tests.benchmarks.learning --jobs {options.jobs}",
    }  # fmt: skip
    lanes: dict[Any, dict[str, Any]] = {}

    def took(found: Sequence[dict[str, Any]]) -> None:
        lanes.update({_key(lane): lane for lane in found})
        write(options.json, {"measured": measured, "lanes": sorted(lanes.values(), key=_key)})

    if options.add is not None:
        took(json.loads(options.add.read_text(encoding="utf-8"))["lanes"])
    wanted = plan(options.only, options.seeds, options.task_seeds)
    wanted = [replace(run, steps=options.steps) for run in wanted]
    with tempfile.TemporaryDirectory() as folder:
        failed = compute(wanted, options.jobs, options.seconds, Path(folder), took)
    return 1 if failed else 0


def _key(lane: dict[str, Any]) -> tuple[str, str, str, int]:
    return lane["scenario"], lane["algorithm"] or "", lane["lane"], lane["seed"]


if __name__ == "__main__":
    sys.exit(main())
