"""The task's own score."""

from __future__ import annotations

from pydantic import Field

from grpolab.rewards.base import Reward, RewardOptions
from grpolab.rewards.parse import Completion
from grpolab.tasks import Grade, Prompt, Step


class AccuracyOptions(RewardOptions):
    weight: float = Field(default=1.0, description="reward of a fully right answer")


class Accuracy(Reward):
    """1 for a right answer, 0 for a wrong or missing one; tasks with parts give the fraction."""

    name = "accuracy"
    description = (
        "the task's score of the answer: 1 right, 0 wrong, a fraction for tasks with parts"
    )
    Options = AccuracyOptions

    def score(
        self, prompt: Prompt, completion: Completion, grade: Grade, steps: tuple[Step, ...]
    ) -> float:
        return grade.score
