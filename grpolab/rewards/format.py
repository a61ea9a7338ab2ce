"""Whether the completion has exactly the expected tags."""

from __future__ import annotations

from pydantic import Field

from grpolab.rewards.base import Reward, RewardOptions
from grpolab.rewards.parse import Completion
from grpolab.tasks import Grade, Prompt, Step


class FormatOptions(RewardOptions):
    weight: float = Field(default=0.2, description="reward of the right format")


class Format(Reward):
    """1 for exactly `<think>…</think><answer>…</answer>`, else 0; the answer may be wrong."""

    name = "format"
    description = "1 if the completion is exactly <think>…</think><answer>…</answer>, else 0"
    Options = FormatOptions

    def score(
        self, prompt: Prompt, completion: Completion, grade: Grade, steps: tuple[Step, ...]
    ) -> float:
        return 1.0 if completion.well_formed else 0.0
