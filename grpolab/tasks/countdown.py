"""Reach a target from given numbers; any correct expression counts."""

from __future__ import annotations

import random
from collections import Counter
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Task, TaskOptions
from grpolab.tasks.expression import Bounds, ExpressionError, apply, evaluate, numbers, parse
from grpolab.tasks.sums import LEVELS

BOUNDS = Bounds(length=64, depth=6, digits=4, magnitude=10**6)
"""What an answer may cost to grade."""

LARGEST_STEP = 200
"""No value on the way to a target is larger."""


class CountdownOptions(TaskOptions):
    """Every prompt is made from a solution, so every prompt has one."""

    largest: int = Field(
        default=12, ge=6, le=20, description="largest given number; the smallest is 1"
    )
    target: tuple[Annotated[int, Field(ge=1, le=99)], Annotated[int, Field(ge=1, le=99)]] = Field(
        default=(5, 99), description="smallest and largest target"
    )
    mix: tuple[
        Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]
    ] = Field(
        default=(0.35, 0.5, 0.15),
        description="shares of easy (3 numbers, + and -), medium (3 numbers) and hard (4 numbers)",
    )

    @model_validator(mode="after")
    def _reachable(self) -> CountdownOptions:
        low, high = self.target
        if low > high or low > self.largest:
            raise ValueError("target: must be a range that the numbers can reach")
        if sum(self.mix) <= 0:
            raise ValueError("mix: at least one share must be above zero")
        return self


class Countdown(Task):
    """`make 29 from 3 5 8:` is met by `3*8+5`."""

    name = "countdown"
    description = "reach a target with + - * / from given numbers, each used at most once"
    Options = CountdownOptions

    def propose(self, rng: random.Random) -> Prompt:
        """Any solvable prompt: a chain of operations over random numbers gives the target."""
        level = rng.choices(range(3), self.options.mix)[0]
        low, high = self.options.target
        while True:
            given = [rng.randint(1, self.options.largest) for _ in range(4 if level == 2 else 3)]
            target = _chain(rng, given, "+-" if level == 0 else "+-**/")
            if target is not None and low <= target <= high and target not in given:
                break
        rng.shuffle(given)
        return Prompt(
            self.name,
            f"make {target} from {' '.join(map(str, given))}:",
            f"{self.name} {target} {' '.join(map(str, sorted(given)))}",
            {"target": target, "numbers": given},
            LEVELS[level],
        )

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """Right if the answer is an expression over the given numbers whose value is the target."""
        if answer is None:
            return Grade(0.0, False, "no answer")
        try:
            node = parse(answer, BOUNDS)
            value = evaluate(node, BOUNDS)
        except ExpressionError as error:
            return Grade(0.0, False, str(error))
        extra = Counter(numbers(node)) - Counter(prompt.data["numbers"])
        if extra:
            return Grade(0.0, False, f"{next(iter(extra))} is not there to be used")
        if value != prompt.data["target"]:
            return Grade(0.0, False, f"{value}, not {prompt.data['target']}")
        return Grade(1.0, True, "right")


def _chain(rng: random.Random, given: list[int], operators: str) -> int | None:
    """The value of ((a op b) op c) …, or None where a step is idle, uneven or out of bounds."""
    value = given[0]
    for number in given[1:]:
        operator = rng.choice(operators)
        left, right = value, number
        if operator in "-/" and left < right:
            left, right = right, left
        if (operator in "*/" and right == 1) or (operator == "/" and left % right):
            return None
        value = apply(operator, left, right)
        if not 0 < value <= LARGEST_STEP:
            return None
    return value
