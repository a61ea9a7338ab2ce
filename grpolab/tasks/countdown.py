"""Reach a target from given numbers; any correct expression counts."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Span, Step, Task
from grpolab.tasks.expression import Bounds, ExpressionError, apply, evaluate, numbers, parse
from grpolab.tasks.steps import Line, follow, missing
from grpolab.tasks.sums import LEVELS
from grpolab.tasks.words import FIND, USING, AskedOptions, Language, asked_in

BOUNDS = Bounds(length=64, depth=6, digits=4, magnitude=10**6)
"""Bounds on grading an answer."""

LARGEST_STEP = 200
"""Largest intermediate value."""

MOST_NUMBERS = 5
"""Steps are graded by an exhaustive search over the numbers, so there may not be more of them."""

_QUESTION = re.compile(
    rf"(?:make +|({FIND}))([0-9]{{1,4}})(?: +from +|{USING})"
    r"([0-9]{1,4}(?: +[0-9]{1,4}){1,5}) *:?"
)

State = tuple[int, tuple[int, ...]]
"""The target that remains, and the numbers that are left, sorted."""


class CountdownOptions(AskedOptions):
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
        return _prompt(target, given, LEVELS[level], asked_in(rng, self.options))

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
            return Grade(0.0, False, f"{next(iter(extra))} is not one of the given numbers")
        if value != prompt.data["target"]:
            return Grade(0.0, False, f"{value}, not {prompt.data['target']}")
        return Grade(1.0, True, "right")

    def steps(self, prompt: Prompt, thought: Span | None, answer: Span | None) -> tuple[Step, ...]:
        """Each line is a step, right if the target can still be reached after it.

        A step makes a new number from two that are there, or works back: `29-5=24` says that 24 is
        to be made from the others. A thought whose steps are right but that stops before the target
        is met lacks one more, which scores 0.
        """
        given = tuple(sorted(prompt.data["numbers"]))
        if thought is None or len(given) > MOST_NUMBERS:
            return ()
        steps, states = follow(thought, ((prompt.data["target"], given),), _after)
        met = any(goal in there for goal, there in states)
        if met or not all(step.score for step in steps):
            return tuple(steps)
        return (*steps, *missing(thought, 1, "stops before the target is reached"))

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """The prompt that reads `make 29 from 3 5 8:`, with two to six numbers.

        The colon may be missing; whether the target can be reached is not checked. Raises
        ValueError; see `Task.from_text`.
        """
        found = _QUESTION.fullmatch(text.strip())
        if found is None:
            raise ValueError("expected a text like make 29 from 3 5 8:")
        given = [int(number) for number in found[3].split()]
        return _prompt(int(found[2]), given, "medium", "zh" if found[1] else "en")


def _prompt(target: int, given: list[int], difficulty: str, language: Language) -> Prompt:
    there = " ".join(map(str, given))
    return Prompt(
        Countdown.name,
        f"make {target} from {there}:" if language == "en" else f"{FIND}{target}{USING}{there}:",
        f"{Countdown.name} {target} {' '.join(map(str, sorted(given)))}",
        {"target": target, "numbers": given},
        difficulty,
    )


def _after(states: tuple[State, ...], line: Line) -> tuple[State, ...] | str:
    """The states after a line with right arithmetic from which the target can still be reached."""
    moved = tuple(dict.fromkeys(new for state in states for new in _moved(*state, line)))
    if not moved:
        return f"{line.left} and {line.right} are not both available"
    if line.dead_end:
        return moved
    goal, there = moved[0]
    return tuple(state for state in moved if _in_reach(*state)) or (
        f"{goal} cannot be made from {' '.join(map(str, there)) or 'nothing'}"
    )


def _moved(goal: int, there: tuple[int, ...], line: Line) -> Iterator[State]:
    """The states after a line: forward from two numbers, or back from the goal by one."""
    forward = Counter(there)
    forward.subtract((line.left, line.right))
    if min(forward.values()) >= 0:
        forward[line.result] += 1
        yield goal, tuple(sorted(forward.elements()))
    for whole, number in ((line.left, line.right), (line.right, line.left)):
        # a zero cannot be divided away again
        if whole == goal and number in there and (number or line.operator in "+-"):
            place = there.index(number)
            yield line.result, there[:place] + there[place + 1 :]


@lru_cache(maxsize=2**14)
def _in_reach(goal: int, there: tuple[int, ...]) -> bool:
    """Whether some of the sorted numbers, each used at most once, make the goal."""
    if goal in there:
        return True
    for first, second in combinations(range(len(there)), 2):
        others = [number for i, number in enumerate(there) if i not in (first, second)]
        for operator, left, right in _ways(there[first], there[second]):
            try:
                value = apply(operator, left, right)
            except ExpressionError:
                continue
            if _in_reach(goal, tuple(sorted((*others, value)))):
                return True
    return False


def _ways(small: int, large: int) -> tuple[tuple[str, int, int], ...]:
    return (
        ("+", large, small),
        ("-", large, small),
        ("-", small, large),
        ("*", large, small),
        ("/", large, small),
        ("/", small, large),
    )


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
