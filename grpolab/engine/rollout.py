"""From prompts to graded answers: one rollout of a lane, groups without a signal replaced where
the algorithm wants that, steps and greedy answers graded where it asks for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from grpolab import rewards
from grpolab.algorithms.base import Algorithm, Batch, Credit, Report
from grpolab.algorithms.types import Steps
from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.sample import Rollout, join
from grpolab.engine.backbone.tokenizer import Text
from grpolab.engine.lane import Lane
from grpolab.engine.record import Stream, row_ids
from grpolab.engine.score import part
from grpolab.engine.seeds import python_random
from grpolab.record import events as ev
from grpolab.rewards import Graded, Reward
from grpolab.tasks import Prompt, Task

if TYPE_CHECKING:
    from grpolab.engine.lab import Lab


@dataclass(frozen=True)
class Gathered:
    """One rollout with its grades. K prompts, N = K · group_size rows in the prompts' order."""

    prompts: list[Prompt]
    rollout: Rollout
    ids: list[list[int]]  # token ids of every row
    answers: list[str]  # the very strings that were graded
    graded: list[Graded]
    drawn: int  # groups sampled in all
    tokens: int  # answer tokens sampled in all

    @property
    def reward(self) -> list[float]:
        return [g.reward for g in self.graded]


def gather(
    lab: Lab, lane: Lane, number: int, *, purpose: str = "", quiet: bool = False
) -> Gathered:
    """Sample and grade one rollout. With `resample`, groups of equal reward are replaced by new
    prompts, that many times at most; what is still missing then is filled with such groups."""
    size = lane.rollout.group_size
    seeds: tuple[object, ...] = (purpose, number) if purpose else (number,)
    found = _round(lab, lane, number, lane.rollout.prompts, seeds, quiet=quiet)
    rounds, alive, dead = [found], *_by_signal(found, size)
    for again in range(1, 1 + (0 if purpose else lane.algorithm.resample)):
        missing = lane.rollout.prompts - len(alive)
        if missing == 0:
            break
        detail = f"{len(alive)} of {lane.rollout.prompts} groups teach; {missing} prompts more"
        lab.phase("sampling", lane, detail)
        more = _round(lab, lane, number, missing, (*seeds, "again", again), quiet=quiet)
        teach, rest = _by_signal(more, size)
        rounds, alive, dead = [*rounds, more], alive + teach, dead + rest
    if len(rounds) == 1:
        return found
    whole = _put_together(lane, [*alive, *dead][: lane.rollout.prompts], rounds)
    if not quiet:
        _announce(lab, lane, number, whole.prompts)
    return whole


Group = tuple[Gathered, int]
"""One group of a round, by its index."""


def _by_signal(found: Gathered, size: int) -> tuple[list[Group], list[Group]]:
    """The groups whose rewards differ, and those whose rewards are all equal."""
    alive: list[Group] = []
    dead: list[Group] = []
    for index in range(len(found.prompts)):
        equal = len(set(found.reward[index * size : (index + 1) * size])) == 1
        (dead if equal else alive).append((found, index))
    return alive, dead


def _round(
    lab: Lab, lane: Lane, number: int, count: int, seeds: Sequence[object], *, quiet: bool
) -> Gathered:
    """Sample and grade groups for `count` new prompts."""
    text, size = lab.backbone.text, lane.rollout.group_size
    rng = python_random(lab.plan.seed, "prompts", *seeds)
    prompts = [lab.task.draw(rng, held_out=False) for _ in range(count)]
    stream = None
    if not quiet:
        _announce(lab, lane, number, prompts)
        if lab.plan.record.stream:
            stream = Stream(text, lab.emit, number, lane.name)
    rollout = lane.sample([text.encode(p.text) for p in prompts], seeds, stream)
    ids = row_ids(rollout)
    answers = text.decode(ids)
    graded = [
        rewards.grade(lab.task, lab.parts, prompts[i // size], answer)
        for i, answer in enumerate(answers)
    ]
    return Gathered(prompts, rollout, ids, answers, graded, count, sum(len(row) for row in ids))


def _announce(lab: Lab, lane: Lane, number: int, prompts: list[Prompt]) -> None:
    lab.emit(
        ev.RolloutStarted(
            number, lane.name, lane.algorithm.name, [p.text for p in prompts],
            [p.difficulty for p in prompts], lane.rollout.group_size, lane.rollout.max_tokens,
        )
    )  # fmt: skip


def _put_together(lane: Lane, kept: list[Group], rounds: list[Gathered]) -> Gathered:
    """Groups from several rounds as one rollout."""
    size, text, device = lane.rollout.group_size, lane.backbone.text, lane.backbone.device
    prompts = [found.prompts[index] for found, index in kept]
    parts, ids, answers, graded = [], [], [], []
    for found, index in kept:
        span = slice(index * size, (index + 1) * size)
        rows = torch.arange(span.start, span.stop, device=device)
        parts.append(part(found.rollout, rows)[0])
        ids += found.ids[span]
        answers += found.answers[span]
        graded += found.graded[span]
    padded = Prompts.pad([text.encode(p.text) for p in prompts], text.pad, device)
    group = torch.arange(len(prompts), device=device).repeat_interleave(size)
    return Gathered(
        prompts, join(padded, group, parts, text.pad), ids, answers, graded,
        drawn=sum(r.drawn for r in rounds), tokens=sum(r.tokens for r in rounds),
    )  # fmt: skip


def graded_steps(text: Text, gathered: Gathered) -> list[list[tuple[int, float]]]:
    """Each row's steps as (index of the last token, reward): the task's steps, and at the end the
    whole answer's reward."""
    out = []
    for row, graded in zip(gathered.ids, gathered.graded, strict=True):
        steps = []
        prefixes = [row[: t + 1] for t in range(len(row))] if graded.steps else []
        ends = [len(known) for known in text.decode(prefixes)]  # characters up to each token
        for step in graded.steps:
            at = next((t for t, end in enumerate(ends) if end >= step.end), len(row) - 1)
            steps.append((at, step.score))
        out.append([*steps, (len(row) - 1, graded.reward)])
    return out


def padded_steps(steps: list[list[tuple[int, float]]], device: torch.device) -> Steps:
    """Steps of all rows as tensors [N, S]."""
    width = max(1, max(len(row) for row in steps))

    def table(rows: list[list[float]], dtype: torch.dtype) -> torch.Tensor:
        padded = [row + [0.0] * (width - len(row)) for row in rows]
        return torch.tensor(padded, device=device).to(dtype)

    return Steps(
        end=table([[float(e) for e, _ in row] for row in steps], torch.long),
        reward=table([[r for _, r in row] for row in steps], torch.float32),
        mask=table([[1.0] * len(row) for row in steps], torch.float32),
    )


def greedy_rewards(lab: Lab, lane: Lane, task: Task, prompts: Sequence[Prompt]) -> list[float]:
    """The reward of the likeliest answer to each prompt of the task."""
    text = lab.backbone.text
    answers = text.decode(row_ids(lane.greedy([text.encode(p.text) for p in prompts])))
    return [
        rewards.grade(task, lab.parts, p, answer).reward
        for p, answer in zip(prompts, answers, strict=True)
    ]


# --- answer_metrics ---
# What the answers of a step tell, whatever the algorithm.


def answer_metrics(
    batch: Batch, gathered: Gathered, parts: Sequence[tuple[Reward, float]]
) -> dict[str, float]:
    """Metrics by name: shares and means over the rows; lengths in tokens."""
    graded, count = gathered.graded, len(gathered.graded)
    groups = len(gathered.prompts)
    out = {
        "reward": float(batch.reward.mean()),
        "reward_std": float(batch.reward.std(unbiased=False)),
        "accuracy": sum(g.correct for g in graded) / count,
        "length": float(batch.mask.sum(1).mean()),
        "truncated": float((~gathered.rollout.finished).float().mean()),
    }
    size = count // groups
    rewards_of = [gathered.reward[at : at + size] for at in range(0, count, size)]
    out["zero_std_groups"] = sum(len(set(r)) == 1 for r in rewards_of) / groups
    if gathered.drawn > groups:
        out["groups_replaced"] = float(gathered.drawn - groups)
    for reward, weight in parts:  # unweighted: the share that meets this criterion
        if reward.name not in out and weight:
            out[reward.name] = sum(g.parts.get(reward.name, 0.0) for g in graded) / weight / count
    return out


# --- held ---
# What a lane keeps of its newest step, for the probes and the lens.


@dataclass(frozen=True)
class LastStep:
    """The newest step, with its algorithm as it was when it scored the rollout."""

    step: int
    task: Task
    temperature: float
    algorithm: Algorithm  # a copy from before the update
    preset: str
    gathered: Gathered
    batch: Batch
    credit: Credit
    report: Report

    def tensors(self) -> list[object]:
        """What of it takes memory on the device."""
        return [self.gathered.rollout, self.batch, self.credit, vars(self.report)]
