"""From prompts to graded answers: `collect` makes one rollout of a lane. Groups with zero reward
variance are replaced where the algorithm asks for that; steps and greedy answers are graded where
it needs them.
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
class Collected:
    """One rollout with its grades. K prompts, N = K · group_size rows in the prompts' order."""

    prompts: list[Prompt]  # [K]
    rollout: Rollout
    ids: list[list[int]]  # [N] token ids of every row
    answers: list[str]  # [N] the very strings that were graded
    graded: list[Graded]  # [N]
    drawn: int  # groups sampled, the replaced ones included
    tokens: int  # answer tokens sampled, those of replaced groups included

    @property
    def reward(self) -> list[float]:
        """Reward of every row. [N]"""
        return [g.reward for g in self.graded]


@dataclass(frozen=True)
class LastStep:
    """A lane's newest step, for the probes and the lens, with the algorithm as it was when it
    scored the rollout."""

    step: int
    task: Task
    temperature: float
    algorithm: Algorithm  # a copy from before the update
    preset: str
    collected: Collected
    batch: Batch
    credit: Credit
    report: Report

    def tensors(self) -> list[object]:
        """Its tensors on the device, as nested containers."""
        return [self.collected.rollout, self.batch, self.credit, vars(self.report)]


def collect(
    lab: Lab, lane: Lane, number: int, *, purpose: str = "", quiet: bool = False
) -> Collected:
    """Sample and grade one rollout of step `number`.

    Where the algorithm has `resample` > 0, groups with zero reward variance are replaced by groups
    of new prompts, in at most that many rounds; if some are still missing, zero-variance groups
    fill up. `purpose` names rollouts that are not a step's: they have random numbers of their own
    and replace nothing. `quiet`: emit no event.
    """
    size = lane.rollout.group_size
    seeds: tuple[object, ...] = (purpose, number) if purpose else (number,)
    found = _round(lab, lane, number, lane.rollout.prompts, seeds, quiet=quiet)
    rounds, varied, flat = [found], *_by_variance(found, size)
    for again in range(1, 1 + (0 if purpose else lane.algorithm.resample)):
        missing = lane.rollout.prompts - len(varied)
        if missing == 0:
            break
        detail = f"replacing {missing} of {lane.rollout.prompts} groups with zero variance"
        lab.phase("sampling", lane, detail)
        more = _round(lab, lane, number, missing, (*seeds, "again", again), quiet=quiet)
        more_varied, more_flat = _by_variance(more, size)
        rounds, varied, flat = [*rounds, more], varied + more_varied, flat + more_flat
    if len(rounds) == 1:
        return found
    whole = _joined(lane, [*varied, *flat][: lane.rollout.prompts], rounds)
    if not quiet:
        _announce(lab, lane, number, whole.prompts)
    return whole


Group = tuple[Collected, int]
"""One group of a round, by its index."""


def _by_variance(found: Collected, size: int) -> tuple[list[Group], list[Group]]:
    """The groups whose rewards differ, and those with zero variance."""
    varied: list[Group] = []
    flat: list[Group] = []
    for index in range(len(found.prompts)):
        equal = len(set(found.reward[index * size : (index + 1) * size])) == 1
        (flat if equal else varied).append((found, index))
    return varied, flat


def _round(
    lab: Lab, lane: Lane, number: int, count: int, seeds: Sequence[object], *, quiet: bool
) -> Collected:
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
    return Collected(
        prompts=prompts,
        rollout=rollout,
        ids=ids,
        answers=answers,
        graded=graded,
        drawn=count,
        tokens=sum(len(row) for row in ids),
    )


def _announce(lab: Lab, lane: Lane, number: int, prompts: list[Prompt]) -> None:
    lab.emit(
        ev.RolloutStarted(
            step=number,
            lane=lane.name,
            algorithm=lane.algorithm.name,
            prompts=[p.text for p in prompts],
            difficulty=[p.difficulty for p in prompts],
            group_size=lane.rollout.group_size,
            max_tokens=lane.rollout.max_tokens,
        )
    )


def _joined(lane: Lane, kept: list[Group], rounds: list[Collected]) -> Collected:
    """The groups `kept` from several rounds as one rollout."""
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
    return Collected(
        prompts=prompts,
        rollout=join(padded, group, parts, text.pad),
        ids=ids,
        answers=answers,
        graded=graded,
        drawn=sum(r.drawn for r in rounds),
        tokens=sum(r.tokens for r in rounds),
    )


def graded_steps(text: Text, collected: Collected) -> list[list[tuple[int, float]]]:
    """Each row's steps as (index of the step's last token, its reward): the steps that the task
    graded, then the whole answer's reward at the last token."""
    out = []
    for row, graded in zip(collected.ids, collected.graded, strict=True):
        steps = []
        prefixes = [row[: t + 1] for t in range(len(row))] if graded.steps else []
        ends = [len(known) for known in text.decode(prefixes)]  # characters up to each token
        for step in graded.steps:
            at = next((t for t, end in enumerate(ends) if end >= step.end), len(row) - 1)
            steps.append((at, step.score))
        out.append([*steps, (len(row) - 1, graded.reward)])
    return out


def padded_steps(steps: list[list[tuple[int, float]]], device: torch.device) -> Steps:
    """Steps of all rows as tensors, right-padded to the most steps of a row. [N, S]."""
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
    """Reward of the greedy answer to each prompt."""
    text = lab.backbone.text
    answers = text.decode(row_ids(lane.greedy([text.encode(p.text) for p in prompts])))
    return [
        rewards.grade(task, lab.parts, p, answer).reward
        for p, answer in zip(prompts, answers, strict=True)
    ]


def answer_metrics(
    batch: Batch, collected: Collected, parts: Sequence[tuple[Reward, float]]
) -> dict[str, float]:
    """Metrics of a step's answers that do not depend on the algorithm, by name: shares and means
    over the rows; lengths in tokens."""
    graded, count = collected.graded, len(collected.graded)
    groups = len(collected.prompts)
    out = {
        "reward": float(batch.reward.mean()),
        "reward_std": float(batch.reward.std(unbiased=False)),
        "accuracy": sum(g.correct for g in graded) / count,
        "length": float(batch.mask.sum(1).mean()),
        "truncated": float((~collected.rollout.finished).float().mean()),
    }
    size = count // groups
    rewards_of = [collected.reward[at : at + size] for at in range(0, count, size)]
    out["zero_std_groups"] = sum(len(set(r)) == 1 for r in rewards_of) / groups
    if collected.drawn > groups:
        out["groups_replaced"] = float(collected.drawn - groups)
    for reward, weight in parts:  # without its weight: the share that meets this criterion
        if reward.name not in out and weight:
            out[reward.name] = sum(g.parts.get(reward.name, 0.0) for g in graded) / weight / count
    return out
