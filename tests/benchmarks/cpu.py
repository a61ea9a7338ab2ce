"""`python -m tests.benchmarks.cpu`: the embedded policy on a CPU, grpolab and TRL in turn."""

from __future__ import annotations

import argparse
import functools
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from grpolab import launch
from grpolab.resources import assets_dir
from grpolab.scenario.spec import build, make_task
from grpolab.tasks import Prompt
from tests.benchmarks import floor, terminal
from tests.benchmarks.models import endless
from tests.benchmarks.pair import OURS, PEER, Pair, compare_algorithms, lanes, line
from tests.benchmarks.report import Report, Row, Spread, Target
from tests.benchmarks.sides import Side, alternate, chosen

PARTS = ("step", "rollout", "backward", "algorithms", "growth", "start", "screen")

APART = 5.0
"""A temperature at which answers part within a few tokens."""

CONFIGURATIONS = [(64, False), (16, False), (64, True)]
"""Ways to run TRL: rows of one forward and backward, and bf16 instead of fp32."""


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cpu", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[], metavar="PART",
                        help=f"of {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=20, metavar="N",
                        help="timed rounds, each side once in every round")  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, metavar="N",
                        help="of grpolab's engine; default: as the lab chooses")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything that was found")
    parser.add_argument("--quick", action="store_true", help="few rounds, to try it out")
    parser.add_argument("--despite", action="store_true",
                        help="time it even where the sides do not agree")  # fmt: skip
    found = parser.parse_args(words)
    if found.quick:
        found.repeats = min(found.repeats, 3)
    if found.repeats < 1:
        parser.error("--repeats must be at least 1")
    return found


def scenario(path: str = "embedded", **changes: Any) -> dict[str, Any]:
    """GRPO as TRL does it, on-policy, 8 × 8 answers of at most 40 tokens; a learning rate at which
    the policy stays what it is while it is timed."""
    whole: dict[str, Any] = {
        "name": "benchmark",
        "model": {"path": path, "lora": {"rank": 16, "alpha": 32.0, "targets": "all-linear"}},
        "task": {"name": "sums", "mix": [0.5, 0.4, 0.1]},
        "algorithm": {"name": "grpo", "preset": "trl-1.16"},
        "rollout": {"prompts": 8, "group_size": 8, "max_tokens": 40},
        "train": {"steps": 100_000, "updates_per_rollout": 1, "learning_rate": 1e-6,
                  "critic_learning_rate": 1e-6, "schedule": "constant"},
    }  # fmt: skip
    for key, value in changes.items():
        whole[key] = whole[key] | value if isinstance(value, dict) else value
    if "lanes" in changes:
        del whole["algorithm"]
    return whole


class Bench:
    """The parts of this command, and what they share."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.o, self.folder = options, folder
        self.threads = options.threads or launch.default_threads()
        shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        self.report = Report("cpu", shown, options.json)
        self.policy = assets_dir() / "policy"
        self.config = json.loads((self.policy / "config.json").read_text())
        task, rng = make_task(build(scenario()).task), random.Random(1)
        self.prompts = [task.draw(rng, held_out=False) for _ in range(8 * 64)]
        self.setting = (*CONFIGURATIONS[0], 0)
        self.agreed: bool | None = None

    def ours(self, plan: dict[str, Any], prompts: Sequence[Prompt] | None = None) -> Side:
        records = None if prompts is None else [p.to_dict() for p in prompts]
        options = {"scenario": plan, "device": "cpu", "threads": self.threads, "prompts": records}
        return Side(OURS, launch.environment(), options)

    def peer(self, path: Path, rows: int, half: bool, threads: int) -> Side:
        options = {
            "path": str(path), "scenario": scenario(), "device": "cpu", "rows": rows, "half": half,
            "prompts": [p.to_dict() for p in self.prompts], "threads": threads,
        }  # fmt: skip
        return Side(PEER, {"TOKENIZERS_PARALLELISM": "false"}, options)

    @functools.cached_property
    def endless(self) -> Path:
        return endless(self.policy, self.folder / "endless")

    # --- the parts ---

    def tune(self) -> None:
        """TRL as it is fastest here: its own steps under every configuration and thread count."""
        tried: dict[str, float] = {}
        for rows, half in CONFIGURATIONS:
            with self.peer(self.policy, rows, half, 0) as peer:
                own = peer.call("facts")["threads"]
                for threads in sorted({own, 2, 1}, reverse=True):
                    peer.call("use", threads)
                    (seconds,) = alternate(3, lambda i, p=peer: p.call("step")["seconds"])
                    found = round(statistics.median(seconds), 4)
                    if found < min(tried.values(), default=found + 1):
                        self.setting = (rows, half, threads)
                    tried[f"{rows} rows, {'bf16' if half else 'fp32'}, {threads} threads"] = found
        self.report.note("TRL's step in seconds, by configuration", tried)

    @contextmanager
    def pair(self, path: Path) -> Iterator[Pair]:
        """Both sides on this folder, TRL in its fastest configuration."""
        plan = scenario("embedded" if path == self.policy else str(path))
        rows, half, threads = self.setting
        with self.ours(plan, self.prompts) as ours, \
                self.peer(path, rows, half, threads) as peer:  # fmt: skip
            yield Pair(self.report, "CPU: ", ours, peer, self.prompts, half)

    def parity(self) -> bool:
        """Whether the sides agree, asked once, before the first comparison."""
        if not (self.o.quick or self.agreed is not None):
            self.tune()
        if self.agreed is None:
            with self.pair(self.policy) as pair:
                self.report.note("grpolab", pair.ours.call("facts"))
                self.report.note("TRL", pair.peer.call("facts"))
                self.agreed = pair.agree(4)
        return self.agreed or self.o.despite

    def whole_step(self) -> None:
        if self.parity():
            with self.pair(self.policy) as pair:
                row = pair.steps(self.o.repeats, 6, "GRPO step, 8 × 8, ≤ 40 tokens", warm=2)
            self.report.add(row)

    def rollout(self) -> None:
        if not self.parity():
            return
        with self.pair(self.endless) as pair:
            work = "rollout, 64 rows × 40 tokens, against HF generate + PEFT"
            row = pair.rollouts(self.o.repeats, 6, work)
        bare = floor.token_step(floor.linears(self.config), 64, self.threads)
        rates = {k: round(64 / v) for k, v in bare.items()}
        self.report.note("CPU: tokens/s of the bare matrix products at 64 rows", rates)
        assert row.ours is not None
        self.report.add(replace(row, share=row.ours.median / max(rates.values())))

    def backward(self) -> None:
        if not self.parity():
            return
        with self.pair(self.policy) as pair:
            row, tokens = pair.backwards(self.o.repeats, None, "loss and backward of 64 answers")
        peak = floor.peak_products("cpu", 1024, self.threads)
        self.report.note("CPU: GFLOP/s", {k: round(v / 1e9) for k, v in peak.items()})
        least = floor.learning_operations(self.config, tokens) / max(peak.values())
        assert row.ours is not None
        self.report.add(replace(row, share=least / row.ours.median))

    def algorithms(self) -> None:
        with self.ours(scenario(lanes=lanes())) as ours:
            compare_algorithms(self.report, ours, self.o.repeats, "CPU: ")

    def growth(self) -> None:
        """Step time over rows, and over tokens, on answers that all have their full length and
        little in common: what a group's answers share is computed once, which makes short ones
        cheaper than the line."""
        sizes = {
            "rows": [("rollout.prompts", n // 8, n) for n in (16, 32, 64, 96, 128, 192, 256)],
            "tokens": [("rollout.max_tokens", t, t) for t in (16, 32, 48, 64, 96, 128)],
        }
        for name, settings in sizes.items():
            plan = scenario(str(self.endless), rollout={"temperature": APART})
            with self.ours(plan) as ours:

                def timed(key: str, value: int, ours: Side = ours) -> float:
                    ours.call("set", key, value)
                    return ours.call("step")["seconds"]

                found = alternate(
                    max(3, self.o.repeats // 4),
                    *(lambda i, k=key, v=value: timed(k, v) for key, value, _ in settings),
                )
            points = [
                (size, statistics.median(f)) for (*_, size), f in zip(settings, found, strict=True)
            ]
            start, slope, worst = line(points)
            self.report.note(f"CPU: step time over {name}, s", {x: round(y, 4) for x, y in points})
            self.report.add(
                Row(
                    f"CPU: step time over {name}, {points[0][0]} to {points[-1][0]}: largest "
                    "distance from a straight line", "of the step", Spread.of([worst]),
                    note=f"{start * 1e3:.0f} ms + {slope * 1e3:.2f} ms each",
                )
            )  # fmt: skip

    def start(self) -> None:
        """The second and later starts: the first keeps its first frame for them."""
        terminal.start(2)
        tries = [terminal.start(2) for _ in range(max(3, min(self.o.repeats, 7)))]
        for key, work, most in (
            ("frame", "to the first frame", 0.3),
            ("screen", "until the screen itself draws", None),
            ("step", "to the first finished step", 4.0),
        ):
            self.report.add(
                Row(f"CPU: `grpolab run default` {work}", "s", Spread.of([t[key] for t in tries]),
                    target=Target("≤", most, "grpolab") if most else None)
            )  # fmt: skip

    def screen(self) -> None:
        steps = 8 if self.o.quick else 40
        rounds = 1 if self.o.quick else max(3, self.o.repeats // 4)
        a, b = alternate(
            rounds,
            lambda i: terminal.attached(self.folder / f"screen-{i}", steps),
            lambda i: terminal.headless(self.folder / f"headless-{i}", steps),
            warm=0,
        )
        with_it, without = Spread.of(a), Spread.of(b)
        self.report.note("tokens/s with a screen, and headless", [with_it.median, without.median])
        self.report.add(
            Row(
                "CPU: throughput with the screen attached against headless", "tokens/s", with_it,
                None, with_it.median / without.median, target=Target("≥", 0.98),
                note=f"headless {without.median:,.0f} tokens/s, {steps} steps",
            )
        )  # fmt: skip

    def run(self) -> int:
        work = {
            "step": self.whole_step, "rollout": self.rollout, "backward": self.backward,
            "algorithms": self.algorithms, "growth": self.growth, "start": self.start,
            "screen": self.screen,
        }  # fmt: skip
        for name in chosen(self.o.only, PARTS):
            self.report.part(name, work[name])
        return self.report.finish()


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    with tempfile.TemporaryDirectory(prefix="grpolab-bench-") as folder:
        return Bench(options, Path(folder)).run()


if __name__ == "__main__":
    sys.exit(main())
