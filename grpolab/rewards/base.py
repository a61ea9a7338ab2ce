"""What every reward shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from grpolab.rewards.parse import Completion
from grpolab.tasks import Grade, Prompt, Step


class RewardOptions(BaseModel):
    """Base of every reward's options: each has at least a `weight`; unknown keys are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True
    )

    weight: float = 1.0


class Reward(ABC):
    """One criterion. `score` is unweighted; `rewards.grade` applies the weights."""

    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[RewardOptions]]

    def __init__(self, options: RewardOptions | None = None) -> None:
        """A reward with these options, or its defaults. Raises TypeError on another reward's."""
        options = self.Options() if options is None else options
        if not isinstance(options, self.Options):
            raise TypeError(f"{self.name} takes {self.Options.__name__}, not {options!r}")
        self.options: Any = options  # each reward's own class; the check above is the guard

    @abstractmethod
    def score(
        self, prompt: Prompt, completion: Completion, grade: Grade, steps: tuple[Step, ...]
    ) -> float:
        """How far the completion meets this criterion, in [0, 1]. Never raises on any text."""
