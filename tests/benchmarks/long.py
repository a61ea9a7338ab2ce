"""`python -m tests.benchmarks.long`: thousands of steps of a tiny scenario; whether step time and
memory of engine and viewer stay as they were."""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing as mp
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpolab.headless.progress import Plain
from grpolab.launch import Engine
from grpolab.record import directory
from grpolab.record import events as ev
from grpolab.record.state import LabState
from grpolab.record.tail import Follow, Timed, read
from grpolab.scenario.spec import build
from tests.benchmarks.pair import line
from tests.benchmarks.report import Report, Row, Spread, Target

PARTS = 10
"""Deciles of the run."""

MIB = 2**20

FLAT = Target("≤", 1.1)
"""The last tenth against the first."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.long", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="default 10,000")
    parser.add_argument("--threads", type=int, metavar="N", help="of the engine")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the run directory, to be kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    found = parser.parse_args(words)
    if found.steps < 2 * PARTS:
        parser.error(f"--steps must be at least {2 * PARTS}")
    return found


def scenario(steps: int) -> dict[str, Any]:
    """Steps of some tens of milliseconds that still do everything a step does."""
    return {
        "name": "long",
        "task": {"name": "sums", "mix": [1, 0, 0]},
        "algorithm": {"name": "grpo", "beta": 0.01},
        "rollout": {"prompts": 2, "group_size": 4, "max_tokens": 16},
        "train": {"steps": steps, "learning_rate": 1e-5, "schedule": "constant",
                  "checkpoint_every": max(1, steps // 20)},
        "evaluate": {"every": max(1, steps // 20), "prompts": 8},
    }  # fmt: skip


def resident(pid: int | None = None) -> int:
    """Bytes of a process that are in memory now; 0 once it is gone."""
    try:
        text = Path(f"/proc/{pid or os.getpid()}/statm").read_text()
    except OSError:
        return 0
    return int(text.split()[1]) * resource.getpagesize()


@dataclass(frozen=True)
class Sample:
    """Memory at one moment of the run, bytes."""

    step: int
    engine: int
    viewer: int


def follow(run: Path, threads: int | None) -> list[Sample]:
    """Compute the run, and watch it as the headless command does."""
    samples: list[Sample] = []
    engine = Engine.start(run, threads=threads)
    events = Follow(run / directory.EVENTS)
    with Plain() as plain:
        due = 0.0
        while True:
            alive = engine.running
            taken = plain.take(events.poll())
            now = time.monotonic()
            if now >= due and alive:
                due = now + 0.5
                samples.append(Sample(plain.state.step, resident(engine.process.pid), resident()))
            if not taken and not alive:
                break
            if not taken:
                time.sleep(0.05)
    events.close()
    engine.close()
    if engine.exit_code != 0:
        raise RuntimeError(f"the engine ended with {engine.exit_code}:\n{engine.log_tail()}")
    return [s for s in samples if s.engine]


def fold(run: str, whole: bool, answer: Any) -> None:
    """In a process of its own: what a viewer holds after each tenth of the file's events, bytes.
    `whole`: the events too, as a replay holds them."""
    state, follow, kept = LabState(), Follow(Path(run) / directory.EVENTS), list[Timed]()
    start = resident()
    found = [(0, start)]
    size = (Path(run) / directory.EVENTS).stat().st_size
    while taken := follow.poll(max(1 << 16, size // 40)):
        for t, event in taken:
            state.apply(event, t)
        if whole:
            kept += taken
        gc.collect()
        found.append((state.step, resident()))
    answer.put(found)


def folded(run: Path, *, whole: bool) -> list[tuple[int, int]]:
    """(step, bytes) while a viewer takes in a finished run."""
    context = mp.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=fold, args=(str(run), whole, answer))
    process.start()
    found = answer.get(timeout=600)
    process.join()
    return found


def replayed(run: Path) -> tuple[float, int]:
    """Seconds and peak bytes of `grpolab replay RUN --headless`."""
    start, highest = time.perf_counter(), 0
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "grpolab", "replay", str(run), "--headless"],
            stdout=out,
            stderr=out,
        )
        while process.poll() is None:
            highest = max(highest, resident(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"grpolab replay ended with {process.returncode}")
    return time.perf_counter() - start, highest


def tenths(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The first and the last tenth; of the first, what is no start-up."""
    size = len(values) // PARTS
    return list(values[size // 4 : size]), list(values[-size:])


def compare(report: Report, work: str, unit: str, first: Sequence[float], last: Sequence[float],
            note: str = "") -> None:  # fmt: skip
    a, b = Spread.of(first), Spread.of(last)
    told = f"first tenth {a.median:.4g} {unit}, last {b.median:.4g} {unit}"
    report.add(
        Row(f"long run: {work}, last tenth against first", unit, b, None, b.median / a.median,
            target=FLAT,
            note=f"{told}{'; ' + note if note else ''}")
    )  # fmt: skip


def growth(points: Sequence[tuple[int, int]], settled: float = 0.2) -> float:
    """Bytes a step by which memory grows after the first `settled` of the steps."""
    last = points[-1][0]
    late = [(s, b) for s, b in points if s >= settled * last]
    return line([(float(s), float(b)) for s, b in late])[1] if len(late) > 1 else 0.0


def measure(report: Report, run: Path, options: argparse.Namespace) -> None:
    began = time.perf_counter()
    samples = follow(run, options.threads)
    seconds = time.perf_counter() - began
    size = (run / directory.EVENTS).stat().st_size
    report.note("run", f"{options.steps} steps in {seconds:.0f} s, events {size / MIB:.1f} MiB")
    steps = [(t, e) for t, e in read(run / directory.EVENTS) if isinstance(e, ev.StepDone)]
    spent = [sum(e.seconds.values()) for _, e in steps]
    compare(report, "work of a step", "s", *(tenths(spent)))
    whole = [b - a for (a, _), (b, _) in itertools.pairwise(steps)]
    compare(report, "step to step, recording included", "s", *(tenths(whole)))
    for name in ("engine", "viewer"):
        values = [getattr(s, name) / MIB for s in samples]
        slope = growth([(s.step, getattr(s, name)) for s in samples])
        per = f"{slope / 1024:.2f} KiB a step after the first fifth"
        compare(report, f"memory of the {name}", "MiB", *tenths(values), note=per)
    for what, kept in (("state folded from the events", False), ("with all events kept", True)):
        points = folded(run, whole=kept)
        report.note(
            f"{what}, MiB", [(s, round(b / MIB, 1)) for s, b in points[:: len(points) // 8]]
        )
        report.note(f"{what}, KiB a step", round(growth(points) / 1024, 3))
    took, highest = replayed(run)
    report.note("grpolab replay --headless", f"{took:.1f} s, peak {highest / MIB:.0f} MiB")


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    report = Report("long", shown, options.json)
    with tempfile.TemporaryDirectory(prefix="grpolab-bench-") as folder:
        where = options.keep or Path(folder) / "run"
        run = directory.create(build(scenario(options.steps)), where)
        report.part("long run", lambda: measure(report, run, options))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
