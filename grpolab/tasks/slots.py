"""k small questions in one prompt: the reward is the fraction that is right, so credit can be
assigned to parts."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Span, Step, Task
from grpolab.tasks.expression import ExpressionError, apply, evaluate, parse, show
from grpolab.tasks.steps import missing
from grpolab.tasks.sums import LEVELS, whole_number
from grpolab.tasks.words import FIND, AskedOptions, asked

MOST_PARTS = 8


class SlotsOptions(AskedOptions):
    """The number of parts is fixed within a task, so that rewards of one run compare."""

    k: int = Field(default=4, ge=2, le=MOST_PARTS, description="number of independent parts")
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
        question = asked(rng, self.options, f"{text}=")
        return Prompt(self.name, question, f"{self.name} {text}", {"values": values}, LEVELS[level])

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """The fraction of parts that hold the right value at the right place, `;` between them.

        Parts that are too many count against the answer: the divisor is the longer length.
        """
        if answer is None:
            return Grade(0.0, False, "no answer")
        wanted: list[int] = prompt.data["values"]
        given = _parts(answer)
        right = sum(whole_number(text) == value for text, value in zip(given, wanted, strict=False))
        correct = right == len(wanted) == len(given)
        score = right / max(len(wanted), len(given))
        return Grade(score, correct, "right" if correct else f"{right} of {len(wanted)} right")

    def steps(self, prompt: Prompt, thought: Span | None, answer: Span | None) -> tuple[Step, ...]:
        """Each part of the answer is a step; parts that are missing or too many score 0.

        So the mean over the steps is the grade's score.
        """
        if answer is None:
            return ()
        wanted: list[int] = prompt.data["values"]
        given = _parts(answer.text)
        steps: list[Step] = []
        end = answer.at - 1
        for place, text in enumerate(given):
            end += 1 + len(text)
            if place >= len(wanted):
                score, detail = 0.0, "one part too many"
            elif whole_number(text) == wanted[place]:
                score, detail = 1.0, "right"
            else:
                score, detail = 0.0, f"not {wanted[place]}"
            steps.append(Step(end, score, detail, text.strip()))
        return (*steps, *missing(answer, len(wanted) - len(given), "a part is missing"))

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """The prompt of 2 to 8 parts, with or without a `=`. Raises ValueError.

        See `Task.from_text`.
        """
        find = FIND if text.strip().startswith(FIND) else ""
        parts = text.strip().removeprefix(FIND).removesuffix("=").split(";")
        if not 2 <= len(parts) <= MOST_PARTS:
            raise ValueError(f"expected 2 to {MOST_PARTS} parts like 3+4; 7*2=")
        try:
            nodes = [parse(part) for part in parts]
            values = [evaluate(node) for node in nodes]
        except ExpressionError as error:
            raise ValueError(f"expected parts like 3+4; 7*2=, but {error}") from None
        text = "; ".join(map(show, nodes))
        question = f"{find}{text}="
        return Prompt(cls.name, question, f"{cls.name} {text}", {"values": values}, "medium")


def _parts(answer: str) -> list[str]:
    # an answer may have thousands of parts: read no more than can matter
    return answer[:4096].split(";")


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
