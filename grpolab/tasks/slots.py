"""k small questions in one: the reward is the fraction right, so credit has somewhere to go."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Task, TaskOptions
from grpolab.tasks.expression import apply
from grpolab.tasks.sums import LEVELS, whole_number


class SlotsOptions(TaskOptions):
    """The number of parts is fixed within a task, so that rewards of one run compare."""

    k: int = Field(default=4, ge=2, le=8, description="number of independent parts")
    mix: tuple[
        Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]
    ] = Field(
        default=(0.3, 0.4, 0.3),
        description="shares of easy (one digit), medium (mixed) and hard (two digits) prompts",
    )

    @model_validator(mode="after")
    def _some_share(self) -> SlotsOptions:
        if sum(self.mix) <= 0:
            raise ValueError("mix: at least one share must be above zero")
        return self


class Slots(Task):
    """`3+4; 7*2; 9-5=` wants `7; 14; 4`."""

    name = "slots"
    description = "k independent one-step sums in one prompt; the score is the fraction right"
    Options = SlotsOptions

    def propose(self, rng: random.Random) -> Prompt:
        """Any list of k parts."""
        level = rng.choices(range(3), self.options.mix)[0]
        parts = [_part(rng, level) for _ in range(self.options.k)]
        text = "; ".join(f"{left}{operator}{right}" for operator, left, right in parts)
        values = [apply(*part) for part in parts]
        return Prompt(
            self.name, f"{text}=", f"{self.name} {text}", {"values": values}, LEVELS[level]
        )

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """The fraction of parts that hold the right value at the right place, `;` between them.

        Parts that are too many count against the answer: the divisor is the longer length.
        """
        if answer is None:
            return Grade(0.0, False, "no answer")
        wanted: list[int] = prompt.data["values"]
        # a hostile answer may hold thousands of parts: look at no more than can matter
        given = answer[:4096].split(";")
        right = sum(whole_number(text) == value for text, value in zip(given, wanted, strict=False))
        correct = right == len(wanted) == len(given)
        score = right / max(len(wanted), len(given))
        return Grade(score, correct, "right" if correct else f"{right} of {len(wanted)} right")


def _part(rng: random.Random, level: int) -> tuple[str, int, int]:
    """One step (operator, left, right) with a result that is not negative."""
    operator = rng.choice("+-*")
    if operator == "*":
        left, right = rng.randint(2, 9), _number(rng, level)
        return operator, *((left, right) if rng.random() < 0.5 else (right, left))
    left, right = _number(rng, level), _number(rng, level)
    if operator == "-" and left < right:
        left, right = right, left
    return operator, left, right


def _number(rng: random.Random, level: int) -> int:
    two_digits = level == 2 or (level == 1 and rng.random() < 0.5)
    return rng.randint(10, 99) if two_digits else rng.randint(2, 9)
