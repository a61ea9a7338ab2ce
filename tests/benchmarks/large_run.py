"""`python -m tests.benchmarks.large_run DIR`: a long recorded run that no engine computed, of the
default scenario's shape. Its rollouts come from a pool of made-up ones, its curves are its own.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.tail import Timed
from tests.tui.fake_run import SETTINGS, FakeRun

POOL = 32
"""Different rollouts, repeated over the run."""

SECONDS = 0.7
"""Recorded seconds of a step."""


class LargeRun:
    """`lines()` are those of its events file. With `tokens_every` n, each n-th step has its tokens.
    Half way the algorithm is switched, every thousand steps a setting changes, and a third of the
    way the run was interrupted three steps after a checkpoint and resumed."""

    def __init__(self, steps: int = 10_000, tokens_every: int = 1, seed: int = 0) -> None:
        self.steps, self.tokens_every = steps, tokens_every
        self.rng = random.Random(seed)
        made = FakeRun(steps=POOL, switches={}, seed=seed, evaluate_every=1 << 30).events()
        self.opening = [e for _, e in itertools.takewhile(lambda x: x[1].kind != "rollout", made)]
        self.pool: list[list[Timed]] = [[] for _ in range(POOL)]
        for t, event in made:
            step = getattr(event, "step", 0)
            if step and event.kind not in ("eval", "checkpoint", "end"):
                self.pool[step - 1].append((t, event))
        self.t = 0.0

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "events.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for line in self.lines():
                file.write(line)
        return path

    def lines(self) -> Iterator[str]:
        for event in self.opening:
            if isinstance(event, ev.RunStarted):
                train = event.scenario["train"] | {"steps": self.steps}
                scenario = event.scenario | {"name": "large", "train": train}
                event = replace(event, run="large", scenario=scenario, steps=self.steps)
            yield self.line(event, 0.2)
        gone_back = max(2, self.steps // 3)
        yield from self.stretch(1, min(self.steps, gone_back + 3))
        if self.steps > gone_back + 3:
            yield self.line(ev.Ended(gone_back + 3, "interrupted"))
            yield self.line(ev.Resumed(gone_back), 5.0)
            yield from self.stretch(gone_back + 1, self.steps)
        yield self.line(ev.Ended(self.steps, "done", {"total": self.t}, "0" * 64))

    def line(self, event: ev.Event, seconds: float = 0.0) -> str:
        self.t += seconds
        return codec.encode(event, self.t) + "\n"

    def stretch(self, first: int, last: int) -> Iterator[str]:
        written = [[(event, codec.encode(event, t)) for t, event in step] for step in self.pool]
        half = max(1, self.steps // 2)
        for step in range(first, last + 1):
            algorithm = "grpo" if step <= half else "rloo"
            yield from self.step(step, algorithm, written[step % POOL])
            if step % 5 == 0 or step == self.steps:
                yield self.line(ev.PhaseChanged("evaluating", step, "main"))
                yield self.line(self.evaluated(step), 0.4)
            if step % 100 == 0 or step == max(2, self.steps // 3):
                yield self.line(ev.Checkpointed(step, f"checkpoints/step-{step:06d}"), 0.02)
            if step % 1000 == 0:
                yield self.line(
                    ev.SettingChanged(step, "main", "train.learning_rate", 1e-3, 9e-4, "command")
                )
            if step == half < self.steps:
                yield self.line(
                    ev.Switched(
                        step, "main", "grpo", "rloo", "paper", SETTINGS["rloo"],
                        ["policy adapter"], [], "command",
                    )
                )  # fmt: skip

    def step(self, step: int, algorithm: str, pooled: list[tuple[ev.Event, str]]) -> Iterator[str]:
        for event, text in pooled:
            if isinstance(event, ev.Tokens) and (step - 1) % self.tokens_every:
                continue
            if isinstance(event, ev.StepDone):
                yield self.line(self.done(step, algorithm, event), 0.01)
                continue
            self.t += SECONDS / len(pooled)
            # the line as it was written, with another time and step
            body = text[text.index(',"kind"') :]
            number = f'"step":{event.step}'  # pyright: ignore[reportAttributeAccessIssue]
            body = body.replace(number, f'"step":{step}', 1)
            if isinstance(event, ev.RolloutStarted):
                body = body.replace('"algorithm":"grpo"', f'"algorithm":"{algorithm}"', 1)
            yield f'{{"t":{self.t:.4f}{body}\n'

    def learned(self, step: int) -> float:
        return 1 - math.exp(-6 * step / self.steps)

    def evaluated(self, step: int) -> ev.Evaluated:
        accuracy = min(1.0, 0.5 + 0.45 * self.learned(step) + self.rng.gauss(0, 0.015))
        by = {"easy": min(1.0, accuracy + 0.05), "medium": accuracy, "hard": accuracy - 0.1}
        return ev.Evaluated(step, "main", accuracy, min(1.0, accuracy + 0.03), accuracy * 1.15, 128,
                            0.4, 20.0, by)  # fmt: skip

    def done(self, step: int, algorithm: str, like: ev.StepDone) -> ev.StepDone:
        rng, learned = self.rng, self.learned(step)
        metrics = like.metrics | {
            "reward": 0.6 + 0.5 * learned + rng.gauss(0, 0.05),
            "accuracy": min(1.0, 0.5 + 0.45 * learned + rng.gauss(0, 0.05)),
            "kl_old": 0.0008 + 0.0009 * rng.random(), "beta": 0.01,
            "grad_norm": 0.3 + 0.2 * rng.random(), "entropy": 0.3 - 0.25 * learned,
            "grad_agreement": rng.gauss(0.2, 0.1), "sampler_gap": 1e-4, "surrogate_gain": 0.001,
            "groups_replaced": 0.0, "process": 0.5, "advantage_std": 0.9,
        }  # fmt: skip
        metrics.pop("kl_ref", None)
        if step % 4 == 1 or algorithm == "grpo":
            metrics["kl_ref"] = 0.05 * learned + abs(rng.gauss(0, 0.002))
        phases = {
            name: dict.fromkeys(ev.OWNERS, 0) | owners
            for name, owners in like.memory_phases.items()
        }
        if step % 5 == 1:
            phases["evaluate"] = dict(phases["rollout"])
        memory = dict.fromkeys(ev.OWNERS, 0) | like.memory
        return replace(
            like, step=step, algorithm=algorithm, metrics=metrics, memory=memory,
            memory_phases=phases,
        )  # fmt: skip


def follow(run: LargeRun, folder: Path, pace: float) -> None:
    """Write it as an engine would, `pace` steps a second, until it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    began, first = time.monotonic(), None
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        for line in run.lines():
            first = run.t if first is None else first
            ahead = (run.t - first) / (SECONDS * pace) - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
            file.write(line)
            file.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--tokens-every", type=int, default=1, metavar="N")
    parser.add_argument("--pace", type=float, metavar="N", help="steps a second; else all at once")
    args = parser.parse_args()
    run = LargeRun(args.steps, args.tokens_every)
    if args.pace:
        follow(run, args.folder, args.pace)
    else:
        print(run.write(args.folder))


if __name__ == "__main__":
    main()
