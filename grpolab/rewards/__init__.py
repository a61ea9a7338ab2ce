"""Rewards, and the one function that turns a completion's text into a number.

A new reward is one file and one line in `REWARDS`. No torch here: graders run anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grpolab.rewards.accuracy import Accuracy
from grpolab.rewards.base import Reward, RewardOptions
from grpolab.rewards.format import Format
from grpolab.rewards.parse import Completion, parse_completion
from grpolab.rewards.process import Process
from grpolab.tasks import Prompt, Step, Task

REWARDS: dict[str, type[Reward]] = {
    "accuracy": Accuracy,
    "format": Format,
    "process": Process,
}


@dataclass(frozen=True, slots=True)
class Graded:
    """A graded completion; `reward` is the sum of the weighted `parts`, one per reward name.

    `steps` are the task's, in the order of the text, whether or not a reward looks at them.
    """

    reward: float
    parts: dict[str, float]
    answer: str | None
    correct: bool
    detail: str
    steps: tuple[Step, ...]


def grade(task: Task, rewards: Sequence[tuple[Reward, float]], prompt: Prompt, text: str) -> Graded:
    """Grade one completion's text under weighted rewards. Never raises on any text."""
    completion = parse_completion(text)
    verdict = task.grade(prompt, completion.answer)
    steps = task.steps(prompt, completion.thought_span, completion.answer_span)
    parts: dict[str, float] = {}
    for reward, weight in rewards:
        value = weight * reward.score(prompt, completion, verdict, steps)
        parts[reward.name] = parts.get(reward.name, 0.0) + value
    return Graded(
        reward=sum(parts.values()),
        parts=parts,
        answer=completion.answer,
        correct=verdict.correct,
        detail=verdict.detail,
        steps=steps,
    )


__all__ = [
    "REWARDS",
    "Completion",
    "Graded",
    "Reward",
    "RewardOptions",
    "grade",
    "parse_completion",
]
