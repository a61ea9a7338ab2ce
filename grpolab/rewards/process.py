"""How many of the steps are right: process supervision as an ordinary reward."""

from __future__ import annotations

from pydantic import Field

from grpolab.rewards.base import Reward, RewardOptions
from grpolab.rewards.parse import Completion
from grpolab.tasks import Grade, Prompt, Step


class ProcessOptions(RewardOptions):
    weight: float = Field(default=1.0, description="reward if all steps are right")


class Process(Reward):
    """The mean score of the steps, 0 without any; each task defines what a step is."""

    name = "process"
    description = "the mean score of the answer's single steps, as the task grades them"
    Options = ProcessOptions

    def score(
        self, prompt: Prompt, completion: Completion, grade: Grade, steps: tuple[Step, ...]
    ) -> float:
        return sum(step.score for step in steps) / len(steps) if steps else 0.0
