"""`python -m tests.benchmarks.screen`: the screen on a long run, timed from outside through a
terminal of its own: how soon it opens, how much memory it takes, and how long a key takes to the
screen, scrubbing a recorded run and beside one that trains."""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from grpolab.record.tail import read
from tests.benchmarks.large_run import LargeRun
from tests.benchmarks.report import Report, Row, Spread, Target
from tests.benchmarks.terminal import (
    PAUSED,
    Terminal,
    attached,
    environment,
    grpolab,
    headless,
    throughput,
)

MIB = 2**20
HOME, END = b"\x1b[H", b"\x1b[F"
STEP = rb"step (\d+)/"
HELD = rb"VIEW HELD at step (\d+)"
IN_COLUMNS = rb"(\d)/8  "
CHANNEL = (
    rb"(advantage|grad weight|ratio|clip|KL to reference|per-step KL|entropy|logprob|value|return"
    rb"|td) "
)
LANES = ("--algorithms", "grpo,ppo,reinforce")
PROMPT = "prompt (\\d+) · answer".encode()


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.screen", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, metavar="N", help="default 10,000")
    parser.add_argument("--tokens-every", type=int, default=20, metavar="N",
                        help="in the second recorded run (default 20)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=12, metavar="N",
                        help="of some 30 keys each (default 12)")  # fmt: skip
    parser.add_argument("--size", default="120x36", metavar="WxH", help="default 120x36")
    parser.add_argument("--training", type=int, default=150, metavar="N",
                        help="steps of the run that trains (default 150; 0: none)")  # fmt: skip
    parser.add_argument("--cost", type=int, default=0, metavar="N",
                        help="measure the training's throughput with and without a screen over N "
                        "steps each")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    return parser.parse_args(words)


def opened(report: Report, name: str, screen: Terminal, steps: int) -> None:
    """From the start of the process to its first frame and to the end of the run's curves."""
    frame = screen.until(rb"grpolab.*step \d+/")
    report.add(Row(f"{name}: first frame", "s", Spread.of([frame]),
                   target=Target("≤", 1.0, "grpolab")))  # fmt: skip
    screen.press(END)
    screen.until(b"step %d/%d .*%d%%" % (steps, steps, 100))
    # the axis of the curves ends at the last step only when they do
    full = screen.until(b"%d step" % steps)
    report.add(Row(f"{name}: full curves", "s", Spread.of([full]),
                   target=Target("≤", 3.0, "grpolab"), note=_computed(screen.cpu())))  # fmt: skip


def _computed(seconds: float) -> str:
    """On a busy machine the better figure."""
    return f"{seconds:.2f} s of CPU"


def scrubbing(rounds: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys, and what the screen answers to each. It stands at the end."""
    for _ in range(rounds):
        yield b",", "REPLAY ‖".encode()  # from the run's end to its last step's
        yield from [(b",", STEP)] * 10 + [(b".", STEP)] * 3
        yield from [(b"]", "REPLAY .{1,3} ×2".encode()), (b"[", "REPLAY .{1,3} ×1".encode())]
        yield HOME, b"step 0/"
        yield from [(b".", STEP)] * 8 + [(b",", STEP)] * 3
        yield from [(b" ", "REPLAY ▶".encode()), (b" ", "REPLAY ‖".encode())]
        yield END, b"100%"


def training(rounds: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys that hold the view of a live run, move it, and let it go, which nothing tells at once:
    an empty answer is not waited for."""
    for _ in range(rounds):
        yield b"v", HELD
        yield from [(b",", HELD)] * 2 + [(b".", HELD)]
        yield from [(b"g", PROMPT)] * 3
        yield b"v", b""


def keyed(screen: Terminal, keys: Iterable[tuple[bytes, bytes]], seed: int = 0) -> list[float]:
    """Milliseconds from each key to the screen's answer; the next comes a little later. An answer
    with a group is one only if the group is another than the last time."""
    rng, took, known = random.Random(seed), list[float](), dict[bytes, bytes | None]()
    for key, answer in keys:
        screen.quiet(rng.uniform(0.02, 0.09))
        before = known.get(answer)
        began = time.perf_counter()
        screen.press(key)
        if not answer:
            screen.quiet(0.3)
            known.pop(HELD, None)
            continue
        screen.until(answer, unlike=before)
        took.append(1000 * (time.perf_counter() - began))
        if b"(" in answer:
            known[answer] = screen.last(answer)
    return took


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def told(report: Report, work: str, took: Sequence[float]) -> None:
    report.note(f"{work}, ms", [round(x, 1) for x in took])
    half, most = statistics.median(took), percentile(took, 0.99)
    report.add(Row(f"{work}: key to screen, median of {len(took)}", "ms", Spread.of([half])))
    report.add(
        Row(f"{work}: key to screen, 99th percentile", "ms", Spread.of([most]),
            target=Target("≤", 50.0, "grpolab"), note=f"longest {max(took):.0f} ms")
    )  # fmt: skip


def memory(report: Report, work: str, screen: Terminal) -> None:
    report.add(Row(f"{work}: viewer memory, highest", "MiB", Spread.of([screen.peak() / MIB]),
                   target=Target("≤", 300.0, "grpolab")))  # fmt: skip


def recorded(report: Report, run: Path, name: str, options: argparse.Namespace) -> None:
    size = (run / "events.jsonl").stat().st_size
    name = f"{name}, {size / MIB:.0f} MiB"
    with Terminal(grpolab("replay", str(run)), size=options.size) as screen:
        opened(report, name, screen, options.steps)
        screen.quiet(0.5)
        before, took = screen.cpu(), keyed(screen, scrubbing(options.rounds))
        each = Spread.of([1000 * (screen.cpu() - before) / len(took)])
        told(report, name, took)
        report.add(Row(f"{name}: CPU of a key, with all that the screen does until the next", "ms",
                       each))  # fmt: skip
        memory(report, name, screen)


def watched(report: Report, run: Path, options: argparse.Namespace) -> None:
    """A long run that is followed, as if it were live."""
    with Terminal(grpolab("watch", str(run)), size=options.size) as screen:
        screen.until(rb"grpolab.*step \d+/")
        full = screen.until(b"%d step" % options.steps)
        report.add(
            Row("following a long run: full curves", "s", Spread.of([full]),
                target=Target("≤", 3.0, "grpolab"), note=_computed(screen.cpu()))
        )  # fmt: skip
        memory(report, "following a long run", screen)


def trained(report: Report, folder: Path, options: argparse.Namespace) -> None:
    out = ["run", "default", "--steps", str(options.training), "--out", str(folder / "trained")]
    with Terminal(grpolab(*out), size=options.size) as screen:
        screen.until(rb"step [3-9]/")
        keys = itertools.islice(training(options.rounds * 5), options.rounds * 30)
        told(report, "beside a run that trains", keyed(screen, keys))
        made = (folder / "trained" / "events.jsonl").read_bytes().count(b'"kind":"step"')
        report.note("steps of the run that trained", made)
        memory(report, "beside a run that trains", screen)


def comparing(rounds: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys of the compare view that move all columns."""
    for _ in range(rounds):
        yield from [(b"g", IN_COLUMNS)] * 4
        yield from [(b"c", CHANNEL)] * 2
        yield from [(b"G", IN_COLUMNS)] * 4


def compared(report: Report, folder: Path, options: argparse.Namespace) -> None:
    """Keys in the compare view while three lanes train."""
    out = folder / "compared"
    steps = ["--steps", str(options.training), "--out", str(out)]
    with Terminal(grpolab("compare", "default", *LANES, *steps), size=options.size) as screen:
        screen.until(b"standing.*mean r", patience=120)
        screen.quiet(3.0)
        before, took = screen.cpu(), keyed(screen, comparing(options.rounds * 3))
        each = 1000 * (screen.cpu() - before) / len(took)
        told(report, "compare view, three lanes training", took)
        report.note("compare view: CPU of a key, and of all until the next, ms", round(each, 1))
        made = (out / "events.jsonl").read_bytes().count(b'"kind":"step"')
        report.note("lane steps of the comparison that trained", made)
        memory(report, "compare view, three lanes training", screen)


def compare_cost(report: Report, folder: Path, options: argparse.Namespace) -> None:
    """Tokens a second of a run with three lanes, with the compare view open and without a screen;
    and the share of a core that the view takes by itself."""
    words = ["compare", "default", *LANES, "--steps", str(options.cost)]
    shown = folder / "shown"
    with Terminal(grpolab(*words, "--out", str(shown)), size=options.size) as screen:
        screen.until(b"standing.*mean r", patience=120)
        began, before = time.perf_counter(), screen.cpu()
        while PAUSED.encode() not in _tail(shown / "events.jsonl"):
            screen.quiet(0.25)
        share = (screen.cpu() - before) / (time.perf_counter() - began)
    bare = folder / "bare"
    bare.mkdir()
    (bare / "scenario.yaml").write_bytes((shown / "scenario.yaml").read_bytes())
    subprocess.run(
        grpolab("run", "--resume", str(bare), "--headless"), env=environment(), check=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    rates = [throughput(read(run / "events.jsonl")) for run in (shown, bare)]
    report.add(Row("three lanes with the compare view against headless", "tokens/s",
                   Spread.of(rates[:1]), Spread.of(rates[1:]), rates[0] / rates[1],
                   target=Target("≥", 0.98), note=f"{share:.1%} of a core"))  # fmt: skip


def _tail(file: Path) -> bytes:
    with file.open("rb") as opened_file:
        opened_file.seek(max(0, opened_file.seek(0, 2) - 4096))
        return opened_file.read()


def grown(report: Report, folder: Path, options: argparse.Namespace) -> None:
    """Memory of a viewer that follows all steps one by one, as fast as it can."""
    from tests.benchmarks.long import growth

    run, made = folder / "grown", LargeRun(options.steps, options.tokens_every)
    run.mkdir()
    points: list[tuple[int, int]] = []
    with (run / "events.jsonl").open("w", encoding="utf-8", buffering=1 << 16) as file:
        lines = made.lines()
        file.writelines(itertools.islice(lines, 40))
        file.flush()
        with Terminal(grpolab("watch", str(run)), size=options.size) as screen:
            screen.until(rb"step \d+/")
            while part := list(itertools.islice(lines, 250)):  # some twenty steps
                file.writelines(part)
                file.flush()
                screen.quiet(0.1)
                points.append((int(screen.last(STEP) or 0), screen.resident()))
            screen.until(b"step %d/" % options.steps)
    shown = points[:: max(1, len(points) // 20)]
    report.note("following live, (step, MiB)", [(s, round(b / MIB, 1)) for s, b in shown])
    report.note("following live, KiB a step", round(growth(points) / 1024, 2))
    size = Spread.of([points[-1][1] / MIB])
    report.add(Row(f"following {options.steps:,} live steps: viewer memory", "MiB", size,
                   target=Target("≤", 300.0, "grpolab"),
                   note=f"{growth(points) / 1024:.2f} KiB a step"))  # fmt: skip


def cost(report: Report, folder: Path, options: argparse.Namespace) -> None:
    """Tokens a second of the same run with a screen and without."""
    with_screen = attached(folder / "attached", options.cost)
    without = headless(folder / "headless", options.cost)
    report.add(Row("training with a screen against without", "tokens/s", Spread.of([with_screen]),
                   Spread.of([without]), with_screen / without,
                   target=Target("≥", 0.98)))  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    shown: dict[str, Any] = {k: str(v) if isinstance(v, Path) else v
                             for k, v in vars(options).items()}  # fmt: skip
    report = Report("screen", shown, options.json)
    with tempfile.TemporaryDirectory(prefix="grpolab-bench-") as name:
        folder = Path(name)
        for what, every in (("all tokens", 1), (f"tokens of each {options.tokens_every}th step",
                                                options.tokens_every)):  # fmt: skip
            run = folder / f"every-{every}"
            LargeRun(options.steps, every).write(run)
            report.part(what, lambda run=run, what=what: recorded(report, run, what, options))
        report.part("following", lambda: watched(report, folder / "every-1", options))
        report.part("growing", lambda: grown(report, folder, options))
        if options.training:
            report.part("training", lambda: trained(report, folder, options))
            report.part("comparing", lambda: compared(report, folder, options))
        if options.cost:
            report.part("cost", lambda: cost(report, folder, options))
            report.part("compare cost", lambda: compare_cost(report, folder, options))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
