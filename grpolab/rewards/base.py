"""What every reward shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from grpolab.rewards.parse import Completion
from grpolab.tasks import Grade, Prompt


class RewardOptions(BaseModel):
    """Base of every reward's options: each has at least a `weight`; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float


class Reward(ABC):
    """One criterion. `score` is unweighted; the weight belongs to whoever sums the rewards up."""

    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[RewardOptions]]

    @abstractmethod
    def score(self, prompt: Prompt, completion: Completion, grade: Grade) -> float:
        """How far the completion meets this criterion, in [0, 1]. Never raises on any text."""
