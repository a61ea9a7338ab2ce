"""Find a function from what it gives: a program of one expression, graded by hidden test cases."""

from __future__ import annotations

import random
import re
from typing import Annotated

from pydantic import Field, model_validator

from grpolab.tasks.base import Grade, Prompt, Span, Step, Task
from grpolab.tasks.expression import Bounds, ExpressionError, evaluate, parse
from grpolab.tasks.steps import lines, missing
from grpolab.tasks.sums import LEVELS
from grpolab.tasks.words import FIND, AskedOptions, asked

BOUNDS = Bounds(length=64, depth=6, digits=6, magnitude=10**9)
"""Bounds on grading an answer, its `x` replaced by a number."""

HIDDEN = 4
"""Test cases that grade an answer; none of them is shown."""

LARGEST_X = 12
"""Test cases take x from 0 to this."""

LARGEST_VALUE = 400
"""Largest value that a prompt shows; none is negative."""

_QUESTION = re.compile(
    rf"({FIND})?f\(([0-9]{{1,2}})\)=([0-9]{{1,4}}) +f\(([0-9]{{1,2}})\)=([0-9]{{1,4}})"
    r" +f\(([0-9]{1,2})\)=([0-9]{1,4}) *:?"
)


class ProgramOptions(AskedOptions):
    """Every prompt is made from a function, and every function from whole numbers."""

    slope: int = Field(default=12, ge=2, le=20, description="largest factor of x")
    offset: int = Field(default=40, ge=1, le=60, description="largest number added")
    mix: tuple[
        Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]
    ] = Field(
        default=(0.35, 0.45, 0.2),
        description="shares of easy (x+b or a*x), medium (a*x+b) and hard (a*x*x+b) functions",
    )

    @model_validator(mode="after")
    def _some_share(self) -> ProgramOptions:
        if sum(self.mix) <= 0:
            raise ValueError("mix: at least one share must be above zero")
        return self


class Program(Task):
    """`f(2)=5 f(3)=7 f(4)=9:` wants `2*x+1`."""

    name = "program"
    description = "find a function of x from three of its values; graded by hidden test cases"
    Options = ProgramOptions

    def propose(self, rng: random.Random) -> Prompt:
        """Any function whose three shown values are in bounds."""
        level = rng.choices(range(3), self.options.mix)[0]
        while True:
            square, slope, offset = self._coefficients(rng, level)
            start = rng.randint(1, 6)
            shown = [(x, square * x * x + slope * x + offset) for x in range(start, start + 3)]
            if all(0 <= value <= LARGEST_VALUE for _, value in shown):
                break
        question = " ".join(f"f({x})={value}" for x, value in shown)
        return _prompt(asked(rng, self.options, f"{question}:"), shown, LEVELS[level])

    def _coefficients(self, rng: random.Random, level: int) -> tuple[int, int, int]:
        """Factors of x² and x, and the number added."""
        offset = rng.randint(-9, self.options.offset)
        if level == 2:
            return rng.randint(1, min(4, self.options.slope)), 0, offset
        if level == 1:
            return 0, rng.randint(2, self.options.slope), offset or 1
        if rng.random() < 0.6:
            return 0, 1, offset
        return 0, rng.randint(2, self.options.slope), 0

    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """The share of the hidden test cases that the expression meets; right if it meets all."""
        if answer is None:
            return Grade(0.0, False, "no answer")
        tests: list[list[int]] = prompt.data["tests"]
        met, first = 0, ""
        for x, wanted in tests:
            try:
                value = value_at(answer, x)
            except ExpressionError as error:
                return Grade(0.0, False, str(error))
            met += value == wanted
            if value != wanted and not first:
                first = f"f({x}) is {value}, not {wanted}"
        correct = met == len(tests)
        return Grade(met / len(tests), correct, first or "right")

    def steps(self, prompt: Prompt, thought: Span | None, answer: Span | None) -> tuple[Step, ...]:
        """Each line is a step, right if its numbers are shown or were found before it.

        The half of a difference counts as found, since a parabola's factor is that. A line that was
        there already is wrong, so that repeating one earns nothing; right checks are no steps. The
        work is done once a line takes all but the added number from a shown value; a thought whose
        steps are right but that stops before lacks one more, which scores 0.
        """
        if thought is None:
            return ()
        shown: list[list[int]] = prompt.data["shown"]
        offset = parabola([(x, value) for x, value in shown])[2]
        known = {number for pair in shown for number in pair}
        done: set[tuple[int, str, int]] = set()
        steps: list[Step] = []
        for line in lines(thought):
            if line.check and line.slip is None:
                continue
            operation = (line.left, line.operator, line.right)
            if line.slip is not None:
                steps.append(Step(line.end, 0.0, line.slip, line.text))
            elif operation in done:
                steps.append(Step(line.end, 0.0, "was done before", line.text))
            elif unknown := [number for number in operation[::2] if number not in known]:
                steps.append(Step(line.end, 0.0, f"{unknown[0]} comes from nowhere", line.text))
            else:
                steps.append(Step(line.end, 1.0, "right", line.text))
                done.add(operation)
                known |= {line.result} | ({line.result // 2} if line.operator == "-" else set())
        last = {(value, "-", value - offset) for _, value in shown}
        if done & last or not all(step.score for step in steps):
            return tuple(steps)
        return (*steps, *missing(thought, 1, "stops before the number that is added"))

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """The prompt that reads `f(2)=5 f(3)=7 f(4)=9:`; the values must be those of a parabola
        with whole coefficients. Raises ValueError; see `Task.from_text`.
        """
        found = _QUESTION.fullmatch(text.strip())
        wanted = "expected a text like f(2)=5 f(3)=7 f(4)=9:"
        if found is None:
            raise ValueError(wanted)
        pairs = list(map(int, found.groups()[1:]))
        shown = list(zip(pairs[::2], pairs[1::2], strict=True))
        start = shown[0][0]
        if [x for x, _ in shown] != [start, start + 1, start + 2]:
            raise ValueError(f"{wanted}, at three consecutive x")
        if (shown[2][1] - 2 * shown[1][1] + shown[0][1]) % 2:
            raise ValueError(f"{wanted}, of a function a*x*x+b*x+c with whole a, b and c")
        question = " ".join(f"f({x})={value}" for x, value in shown)
        return _prompt(f"{found[1] or ''}{question}:", shown, "medium")


def value_at(expression: str, x: int) -> int:
    """The value of an expression in x, which is no negative number. Raises ExpressionError."""
    if len(expression) > BOUNDS.length:
        raise ExpressionError(f"longer than {BOUNDS.length} characters")
    if re.search(r"[0-9x)]\s*x|x\s*[0-9(]", expression):
        raise ExpressionError("a sign is missing beside x")
    bounds = Bounds(len(expression) * 2, BOUNDS.depth, BOUNDS.digits, BOUNDS.magnitude)
    return evaluate(parse(expression.replace("x", str(x)), bounds), bounds)


def parabola(shown: list[tuple[int, int]]) -> tuple[int, int, int]:
    """a, b, c of the a*x*x+b*x+c through three values at consecutive x."""
    (x, first), (_, second), (_, third) = shown
    square = (third - 2 * second + first) // 2
    slope = second - first - square * (2 * x + 1)
    return square, slope, first - square * x * x - slope * x


def _prompt(question: str, shown: list[tuple[int, int]], difficulty: str) -> Prompt:
    square, slope, offset = parabola(shown)
    key = f"{Program.name} {square} {slope} {offset}"
    # the hidden cases depend on the function alone, so that a prompt means the same everywhere
    hidden = random.Random(key).sample(
        [x for x in range(LARGEST_X + 1) if x not in {x for x, _ in shown}], HIDDEN
    )
    tests = [[x, square * x * x + slope * x + offset] for x in sorted(hidden)]
    data = {"shown": [list(pair) for pair in shown], "tests": tests}
    return Prompt(Program.name, question, key, data, difficulty)
