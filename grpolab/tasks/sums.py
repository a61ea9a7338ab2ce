"""Arithmetic in steps, with prompts of mixed difficulty."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Span, Step, Task
from grpolab.tasks.expression import ExpressionError, Node, apply, evaluate, numbers, parse, show
from grpolab.tasks.steps import Line, follow, missing
from grpolab.tasks.words import FIND, AskedOptions, asked

LARGEST = 9999
"""Largest intermediate value."""

LARGEST_FACTOR = 999
"""A product has one factor from 2 to 9; the other is at most this."""

MOST_READINGS = 32
"""Which of several equal operations a step means is kept open up to this many ways."""

LEVELS = ("easy", "medium", "hard")


class SumsOptions(AskedOptions):
    """Ranges are inclusive; an easy draw stays at their lower end, a hard one spans them."""

    digits: tuple[Annotated[int, Field(ge=1, le=4)], Annotated[int, Field(ge=1, le=4)]] = Field(
        default=(1, 4), description="fewest and most digits of a number"
    )
    operations: tuple[Annotated[int, Field(ge=1, le=4)], Annotated[int, Field(ge=1, le=4)]] = Field(
        default=(2, 4), description="fewest and most operations of an expression"
    )
    brackets: bool = Field(default=True, description="whether expressions may have brackets")
    mix: tuple[
        Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]
    ] = Field(default=(0.35, 0.4, 0.25), description="shares of easy, medium and hard prompts")

    @model_validator(mode="after")
    def _ordered(self) -> SumsOptions:
        for name in ("digits", "operations"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first number must not exceed the second")
        if sum(self.mix) <= 0:
            raise ValueError("mix: at least one share must be above zero")
        return self


class Sums(Task):
    """`(47+38)*6=` wants 510."""

    name = "sums"
    description = "arithmetic worked in steps: + - *, brackets, 1 to 4 digits, mixed difficulty"
    Options = SumsOptions

    def propose(self, rng: random.Random) -> Prompt:
        """Any expression of the task; retries until every value on the way is in bounds."""
        level = rng.choices(range(3), self.options.mix)[0]
        (fewest, most), (short, long) = self.options.operations, self.options.digits
        if level == 0:
            operations, long = fewest, min(long, short + 1)
        elif level == 1:
            operations, long = rng.randint(fewest, min(fewest + 1, most)), min(long, short + 2)
        else:
            operations = rng.randint(min(fewest + 1, most), most)
        while True:
            built = self._build(rng, operations, short, long)
            if built is not None:
                node, value = built
                text = show(node)
                question = asked(rng, self.options, f"{text}=")
                return Prompt(
                    self.name, question, f"{self.name} {text}", {"value": value}, LEVELS[level]
                )

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """Right if the answer is the value as a decimal integer, spaces around it allowed."""
        value = whole_number(answer)
        if answer is None:
            return Grade(0.0, False, "no answer")
        if value is None:
            return Grade(0.0, False, "not a whole number")
        wanted = prompt.data["value"]
        if value != wanted:
            return Grade(0.0, False, f"{value}, not {wanted}")
        return Grade(1.0, True, "right")

    def steps(self, prompt: Prompt, thought: Span | None, answer: Span | None) -> tuple[Step, ...]:
        """Each line is a step, right if it does an operation of what is left of the expression.

        An operation can be done only when its numbers stand there, and once. As many steps as the
        expression has operations are wanted; missing ones score 0.
        """
        if thought is None:
            return ()
        try:
            root = expression_of(prompt.text)
        except ExpressionError:
            return ()
        steps, _ = follow(thought, (root,), _after)
        operations = sum(1 for _ in numbers(root)) - 1
        return (*steps, *missing(thought, operations - len(steps), "a step is missing"))

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """The prompt of an expression, with or without a `=`. Raises ValueError.

        Brackets without effect are left out; see `Task.from_text`.
        """
        try:
            node = expression_of(text.strip())
            value = evaluate(node)
        except ExpressionError as error:
            raise ValueError(f"expected a sum like (47+38)*6=, but {error}") from None
        find = FIND if text.strip().startswith(FIND) else ""
        text = show(node)
        return Prompt(cls.name, f"{find}{text}=", f"{cls.name} {text}", {"value": value}, "medium")

    def _build(
        self, rng: random.Random, operations: int, short: int, long: int
    ) -> tuple[Node, int] | None:
        """An expression and its value, or None if a value on the way leaves the bounds."""
        if operations == 0:
            digits = rng.randint(short, long)
            value = rng.randint(10 ** (digits - 1) if digits > 1 else 1, 10**digits - 1)
            return value, value
        operator = rng.choices("+-*", (40, 33, 27))[0]
        if operator == "*":
            # one factor is a digit; the other is what the remaining operations make
            other = self._build(rng, operations - 1, min(short, 3), min(long, 3))
            if other is None or not 2 <= other[1] <= LARGEST_FACTOR:
                return None
            digit = rng.randint(2, 9)
            parts = [other, (digit, digit)]
            if rng.random() < 0.35:
                parts.reverse()
        else:
            # most expressions lean to the left, as people write them
            right_operations = rng.choice((0, 0, 1, 2)) if operations > 1 else 0
            right_operations = min(right_operations, operations - 1)
            first = self._build(rng, operations - 1 - right_operations, short, long)
            second = self._build(rng, right_operations, short, long)
            if first is None or second is None:
                return None
            parts = [first, second]
        (left, left_value), (right, right_value) = parts
        value = apply(operator, left_value, right_value)
        # a negative number may stand on the left of a step only, so that no step reads 5--3
        if abs(value) > LARGEST or right_value < 0 or (operator == "*" and left_value < 0):
            return None
        if value < 0 and rng.random() < 0.6:
            return None
        node: Node = (operator, left, right)
        if not self.options.brackets and "(" in show(node):
            return None
        return node, value


def expression_of(question: str) -> Node:
    """The expression that a prompt's text asks for. Raises ExpressionError."""
    return parse(question.removeprefix(FIND).removesuffix("="))


def _after(states: tuple[Node, ...], line: Line) -> tuple[Node, ...] | str:
    """What may be left of the expression after a line with right arithmetic."""
    left = tuple(dict.fromkeys(node for state in states for node in _reduced(state, line)))
    return left[:MOST_READINGS] or (
        f"{line.left}{line.operator}{line.right} does not stand in {show(states[0])}"
    )


def _reduced(node: Node, line: Line) -> Iterator[Node]:
    """The expression with this line's operation done, once for every place where it stands."""
    if isinstance(node, int):
        return
    operator, left, right = node
    if _is(node, line):
        yield line.result
    # 7+4 stands in 5+7+4 too, though that is read as (5+7)+4
    if not isinstance(left, int) and (left[0] + operator in ("++", "+-", "**")):
        before, first, second = left
        if _is((operator, second, right), line):
            yield (before, first, line.result)
    for other in _reduced(left, line):
        yield (operator, other, right)
    for other in _reduced(right, line):
        yield (operator, left, other)


def _is(node: Node, line: Line) -> bool:
    """Whether the line does just this operation; 4+7 is 7+4."""
    return node == (line.operator, line.left, line.right) or (
        line.operator in "+*" and node == (line.operator, line.right, line.left)
    )


def whole_number(text: str | None) -> int | None:
    """The decimal integer that the text is, or None. ASCII digits only, at most nine of them."""
    if text is None or len(text) > 32 or not re.fullmatch(r" *-?[0-9]{1,9} *", text):
        return None
    return int(text)
