"""Evaluation on held-out prompts, which training never draws: one sampled and one greedy answer to
each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grpolab import rewards
from grpolab.engine.backbone.base import Prompts
from grpolab.engine.backbone.sample import Rollout, sample
from grpolab.engine.lane import Lane
from grpolab.engine.microbatches import SAMPLED
from grpolab.engine.seeds import python_random, torch_generator
from grpolab.record.events import Evaluated
from grpolab.tasks import Prompt, Task


def held_out(task: Task, seed: int, count: int) -> list[Prompt]:
    """Draw the run's evaluation prompts: the same at every evaluation and in every lane."""
    rng = python_random(seed, "held-out")
    return [task.draw(rng, held_out=True) for _ in range(count)]


def evaluate(
    lane: Lane, task: Task, parts: Sequence[tuple[Any, float]], prompts: Sequence[Prompt], step: int
) -> Evaluated:
    """Accuracy and mean reward of answers sampled at the rollout's temperature, and accuracy of
    greedy ones."""
    start = time.perf_counter()
    backbone, settings, device = lane.backbone, lane.rollout, lane.backbone.device
    size = SAMPLED if lane.workers.parallel else len(prompts)
    if lane.model.never_copies:  # no more rows than in a rollout
        size = min(size, max(1, settings.prompts * settings.group_size // 2))
    ids = [backbone.text.encode(p.text) for p in prompts]
    backbone.prepare(lane.adapter)

    def work(item: tuple[int, Tensor]) -> list[Rollout]:
        index, chunk = item

        def some(which: Tensor) -> Rollout:
            mine = [ids[i] for i in which.tolist()]
            group = torch.arange(len(mine), device=device).repeat(2)
            # part of a chunk, where memory was short, has random numbers of its own
            part_of = () if len(which) == len(chunk) else (int(which[0]), len(which))
            seeds = (lane.seed, "evaluate", step, index, *part_of)
            return sample(
                backbone, lane.adapter, Prompts.pad(mine, backbone.text.pad, device), group,
                max_tokens=settings.max_tokens, temperature=settings.temperature,
                top_p=settings.top_p, generator=torch_generator(*seeds, device=device),
                greedy=torch.arange(len(group), device=device) >= len(mine),
            )  # fmt: skip

        return lane.oom.run(some, chunk)

    chunks = lane.oom.pieces(torch.arange(len(ids)), size)
    sampled, greedy, lengths = [], [], []
    for rollout in (part for done in lane.workers.map(work, enumerate(chunks)) for part in done):
        rows = [row[:n].tolist() for row, n in zip(rollout.tokens, rollout.lengths, strict=True)]
        texts = backbone.text.decode(rows)
        half = len(texts) // 2
        lengths += [len(r) for r in rows[:half]]
        sampled += texts[:half]
        greedy += texts[half:]
    grades = [rewards.grade(task, parts, p, text) for p, text in zip(prompts, sampled, strict=True)]
    best = [rewards.grade(task, parts, p, text) for p, text in zip(prompts, greedy, strict=True)]
    by_difficulty: dict[str, list[bool]] = {}
    for prompt, graded in zip(prompts, grades, strict=True):
        by_difficulty.setdefault(prompt.difficulty, []).append(graded.correct)
    count = len(prompts)
    return Evaluated(
        step=step, lane=lane.name, prompts=count,
        accuracy=sum(g.correct for g in grades) / count,
        greedy_accuracy=sum(g.correct for g in best) / count,
        reward=sum(g.reward for g in grades) / count,
        length=sum(lengths) / count,
        by_difficulty={k: sum(v) / len(v) for k, v in sorted(by_difficulty.items())},
        seconds=time.perf_counter() - start,
    )  # fmt: skip
