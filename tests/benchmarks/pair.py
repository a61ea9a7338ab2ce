"""What both commands do with two sides: agree first, then work in turn."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grpolab.tasks import Prompt
from tests.benchmarks import parity
from tests.benchmarks.report import Report, Row, Spread, Target, faster
from tests.benchmarks.sides import Side, alternate

OURS, PEER = "tests.benchmarks.ours:Ours", "tests.benchmarks.peer:Peer"

FULL = (1e-3, 1e-4, 0.02)
"""Tolerances where both compute in fp32, or with products in bf16: mean |Δ| and mean Δ of log-probs
in nats, and the relative difference of the gradient's norm."""

HALF = (2e-2, 5e-3, 0.05)
"""The same where a side computes in bf16 throughout."""

GAP = 1e-3
"""The sampler's log-probs against the trainer's, |mean Δ|: rounding goes both ways, a bias would
not. The mean of |Δ| stands beside it."""


@dataclass
class Pair:
    """grpolab's side and TRL's, with the same prompts. `groups` prompts of `answers` answers."""

    report: Report
    prefix: str
    ours: Side
    peer: Side
    prompts: Sequence[Prompt]
    half: bool
    groups: int = 8
    answers: int = 8

    def encoded(self) -> list[list[int]]:
        """The first rollout's prompts."""
        return self.ours.call("encode", [p.text for p in self.prompts[: self.groups]])

    # --- agreement ---

    def agree(self, steps: int) -> bool:
        """Every check; both sides are then at their start again, but for `steps` steps that hardly
        moved them."""
        checks = [*self.same_numbers(), *self.same_answers(steps)]
        passed = [self.report.check(check) for check in checks]
        return all(passed)

    def same_numbers(self) -> list[parity.Check]:
        """Log-probs and gradient on the same sequences, with an adapter that is not zero."""
        names = [side.call("fill_adapter", active=True) for side in (self.ours, self.peer)]
        if names[0] != names[1]:
            return [parity.Check("adapter", False, "its tensors have other names on the two sides")]
        texts = [p.text for p in self.prompts]
        if self.ours.call("encode", texts) != self.peer.call("encode", texts):
            return [parity.Check("prompts", False, "the two sides read other tokens in them")]
        self.hand_over()
        mean, bias, norm = HALF if self.half else FULL
        found = self.ours.call("logprobs")
        theirs = self.peer.call("logprobs")
        checks = [
            parity.same_logprobs(found["trainer"], theirs, mean=mean, bias=bias),
            parity.close(
                "norm of the loss's gradient",
                self.ours.call("loss_backward")["norm"],
                self.peer.call("loss_backward")["norm"],
                norm,
            ),
        ]
        self.report.add(
            Row(f"{self.prefix}sampler against trainer, mean difference of log-probs", "nats",
                Spread.of([abs(found["gap"])]), target=Target("≤", GAP, "grpolab"),
                note=f"without its sign {found['distance']:.3g}")
        )  # fmt: skip
        for side in (self.ours, self.peer):
            side.call("fill_adapter", active=False)
        return checks

    def hand_over(self) -> int:
        """Sample a rollout and give both sides the same rewards on it; tokens that a trainer has
        to read, each prompt once."""
        prompts = self.encoded()
        self.ours.call("rollout", prompts)
        rng = random.Random(2)
        rewards = [rng.random() for _ in range(self.groups * self.answers)]
        advantage = self.ours.call("prepare", rewards)
        sequences = self.ours.call("sequences")
        rows = [p for p in prompts for _ in range(self.answers)]
        self.peer.call("take", rows, sequences, advantage)
        return sum(map(len, prompts)) + sum(len(s) - 1 for s in sequences)

    def same_answers(self, steps: int) -> list[parity.Check]:
        """Rewards and lengths of rollouts of the start, by each side's own steps."""
        seen: list[dict[str, list[float]]] = []
        for side in (self.ours, self.peer):
            rows: dict[str, list[float]] = {"reward": [], "length": []}
            for _ in range(steps):
                done = side.call("step")
                rows["reward"] += done["reward"]
                rows["length"] += done["length"]
            seen.append(rows)
        return [parity.same_mean(f"mean {k}", seen[0][k], seen[1][k]) for k in seen[0]]

    def settle(self, most: float) -> None:
        """Let grpolab make steps until three in turn take equally long, for at most so many
        seconds: what it prepares in the background is then done."""
        until, times = time.perf_counter() + most, list[float]()
        while time.perf_counter() < until:
            times.append(self.ours.call("step")["seconds"])
            last = times[-3:]
            if len(times) >= 5 and max(last) < 1.05 * min(last):
                break
        self.report.note(f"{self.prefix}first steps, s", [round(t, 3) for t in times])

    # --- in turn ---

    def steps(self, repeats: int, target: float, work: str, *, warm: int = 1) -> Row:
        """Whole steps."""
        tokens: tuple[list[int], list[int]] = ([], [])
        phases: list[dict[str, float]] = []

        def turn(side: Side, kept: list[int]) -> float:
            done = side.call("step")
            kept.append(done["tokens"])
            if "phases" in done:
                phases.append(done["phases"])
            return done["seconds"]

        a, b = alternate(
            repeats,
            lambda i: turn(self.ours, tokens[0]),
            lambda i: turn(self.peer, tokens[1]),
            warm=warm,
        )
        self.report.note(f"{self.prefix}tokens of a step", [statistics.fmean(t) for t in tokens])
        split = {k: round(statistics.median(p[k] for p in phases[warm:]), 4) for k in phases[0]}
        self.report.note(f"{self.prefix}grpolab's step by phase, s", split)
        mine, theirs = Spread.of(a), Spread.of(b)
        goal = Target("≥", target)
        return Row(self.prefix + work, "s", mine, theirs, faster(mine, theirs), target=goal)

    def rollouts(self, repeats: int, target: float, work: str, *, warm: int = 1) -> Row:
        """Rollouts of equally many tokens."""
        prompts, counts = self.encoded(), ([], [])

        def turn(side: Side, kept: list[int], *more: Any) -> float:
            done = side.call("rollout", prompts, *more)
            kept.append(done["tokens"])
            return done["rate"]

        a, b = alternate(
            repeats,
            lambda i: turn(self.ours, counts[0]),
            lambda i: turn(self.peer, counts[1], self.answers),
            warm=warm,
        )
        same = parity.close(
            "tokens of a rollout", statistics.fmean(counts[0]), statistics.fmean(counts[1]), 0.0
        )
        self.report.check(same)
        mine, theirs = Spread.of(a), Spread.of(b)
        ratio = faster(mine, theirs, rate=True)
        return Row(
            self.prefix + work, "tokens/s", mine, theirs, ratio, target=Target("≥", target)
        )  # fmt: skip

    def backwards(self, repeats: int, target: float | None, work: str) -> tuple[Row, int]:
        """Loss and backward of the same sequences; and their tokens, each prompt once. Every turn
        begins with one that does not count: it finds the other side's data in the caches."""
        tokens = self.hand_over()

        def second(side: Side) -> float:
            side.call("loss_backward")
            return side.call("loss_backward")["seconds"]

        a, b = alternate(repeats, lambda i: second(self.ours), lambda i: second(self.peer))
        mine, theirs = Spread.of(a), Spread.of(b)
        goal = None if target is None else Target("≥", target)
        return Row(self.prefix + work, "s", mine, theirs, faster(mine, theirs), target=goal), tokens


def lanes() -> list[dict[str, Any]]:
    """GRPO, PPO with a critic and TRPO with 5 iterations, none with a KL against the start."""
    return [
        {"name": "grpo", "algorithm": {"name": "grpo", "beta": 0.0}},
        {"name": "ppo", "algorithm": {"name": "ppo", "beta": 0.0}},
        {"name": "trpo", "algorithm": {"name": "trpo", "cg_steps": 5}},
    ]


def compare_algorithms(report: Report, ours: Side, repeats: int, prefix: str) -> None:
    """Rows for PPO and TRPO against GRPO: lanes of one lab, in turn."""
    names = ("grpo", "ppo", "trpo")
    found = alternate(
        repeats, *(lambda i, n=n: ours.call("step", n)["seconds"] for n in names), warm=2
    )
    grpo, ppo, trpo = (Spread.of(f) for f in found)
    for work, spread, most in (
        ("PPO with an adapter critic", ppo, 1.6),
        ("TRPO, 5 iterations", trpo, 5.0),
    ):
        report.add(
            Row(f"{prefix}{work}: step, against GRPO's", "s", spread, None,
                spread.median / grpo.median, target=Target("≤", most),
                note=f"GRPO {grpo.median:.3g} s")
        )  # fmt: skip


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """The straight line that fits best: intercept, slope, and the largest residual as a share of
    its point's value."""
    slope, start = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    worst = max(abs(y - start - slope * x) / y for x, y in points)
    return start, slope, worst
