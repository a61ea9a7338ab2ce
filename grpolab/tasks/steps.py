"""The lines of a thought as steps: each is right only if it continues the work before it.

A line `a+b=c` (or with - * /, one space allowed between the signs) is a step; it may start with one
of the connectives of `words`. Right arithmetic is
not enough, or a policy could earn by writing `1+1=2` all day: a step must move the task's own
state, and a state can be moved only so often.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from grpolab.tasks.base import Span, Step
from grpolab.tasks.expression import ExpressionError, apply
from grpolab.tasks.words import CHECKS, WORDS

MOST_LINES = 64
"""Lines of a thought that are read; no task needs more."""

_LINE = re.compile(
    rf"^ ?({'|'.join(WORDS)})?(-?[0-9]{{1,9}}) ?([-+*/]) ?(-?[0-9]{{1,9}}) ?= ?(-?[0-9]{{1,9}})"
    r"( no)? ?$",
    re.MULTILINE,
)

State = TypeVar("State")


@dataclass(frozen=True, slots=True)
class Line:
    """`left operator right=result`; `end` counts from the start of the completion.

    A line that ends in ` no` is a dead end: tried and taken back. A check works an operation again.
    """

    end: int
    text: str
    operator: str
    left: int
    right: int
    result: int
    dead_end: bool
    check: bool = False

    @property
    def slip(self) -> str | None:
        """What is wrong with the arithmetic, or None."""
        operation = f"{self.left}{self.operator}{self.right}"
        try:
            value = apply(self.operator, self.left, self.right)
        except ExpressionError as error:
            return str(error)
        return None if value == self.result else f"{operation} is {value}, not {self.result}"


def lines(thought: Span) -> Iterator[Line]:
    """The thought's lines that read as steps; other lines are passed over."""
    for found in islice(_LINE.finditer(thought.text), MOST_LINES):
        word, left, operator, right, result, dead_end = found.groups()
        yield Line(
            end=thought.at + found.end(),
            text=found[0],
            operator=operator,
            left=int(left),
            right=int(right),
            result=int(result),
            dead_end=dead_end is not None,
            check=word in CHECKS,
        )


def follow(
    thought: Span,
    states: tuple[State, ...],
    after: Callable[[tuple[State, ...], Line], tuple[State, ...] | str],
) -> tuple[list[Step], tuple[State, ...]]:
    """Grade a thought's steps. Returns them and the states in which the work may stand at the end.

    There may be several: `3+4=7` in (3+4)*2+(3+4)*5 does not say which 3+4 it means. `after` tells
    where a line with right arithmetic leads, or in words why it leads nowhere.

    A wrong step scores 0 and moves nothing, so steps that build on it score 0 as well. A dead end
    is a step only if it is wrong: anyone could list right ones without end. So it is with a check,
    unless it mends the wrong step before it.
    """
    steps: list[Step] = []
    for line in lines(thought):
        if line.check and line.slip is None and not (steps and steps[-1].score == 0.0):
            continue
        reached = line.slip or after(states, line)
        if isinstance(reached, str):
            steps.append(Step(line.end, 0.0, reached, line.text))
        elif not line.dead_end:
            steps.append(Step(line.end, 1.0, "right", line.text))
            states = reached
    return steps, states


def missing(part: Span, count: int, detail: str) -> list[Step]:
    """Steps that score 0 because they are not there, so that leaving them out earns nothing.

    They end with the first character of the tag that closes the part: there it stopped short.
    """
    return [Step(part.at + len(part.text) + 1, 0.0, detail)] * count
