"""Students: who they are, how they slip, and how they break the format.

The policy is pretrained on what they write. Each mistake is a choice that a careful student would
have made otherwise, so that reinforcement learning can select it away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

BROKEN_FORMATS = (
    "no opening",  # the thought starts without <think>
    "never closed",  # </think> is missing
    "gap",  # a line break between the thought and the answer
    "twice",  # the answer is given twice
    "tail",  # a remark follows the answer
    "no end",  # </answer> is missing
    "bare",  # the answer has no tags
    "swapped",  # the answer is closed with the wrong tag
)
"""In the first five the answer can still be graded; in the others it is lost."""

_FORMAT_ODDS = (4, 4, 3, 3, 2, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Student:
    """One student's habits: probabilities for each step or answer, and standing misconceptions."""

    slip: float = 0.0
    """A step's result is wrong by a plausible amount."""
    skip: float = 0.0
    """A step is not written down, and slips more easily."""
    miscopy: float = 0.0
    """The answer is not what the thought ended with."""
    drop: float = 0.0
    """A part of the question is forgotten."""
    hurried: bool = False
    """Leaves the thought empty and answers from the head."""
    pretend: float = 0.0
    """A dead end is passed off as a solution."""
    left_to_right: bool = False
    """Works strictly from left to right, blind to precedence and brackets."""
    unsigned: bool = False
    """Always takes the smaller number from the larger."""
    bracket_blind: bool = False
    """Leaves out the brackets of an answer."""
    broken_format: str | None = None
    """One of BROKEN_FORMATS."""


CAREFUL = Student()


@dataclass(frozen=True, slots=True)
class Habits:
    """How careless a class of students is: for each student, how likely each habit is."""

    slips: tuple[float, ...] = (0.03, 0.07, 0.13)
    """A careful, an ordinary and a sloppy student's rate of slips…"""
    slip_odds: tuple[int, ...] = (3, 5, 2)
    """…and how many there are of each."""
    skip: float = 0.05
    miscopy: float = 0.015
    drop: float = 0.01
    hurried: float = 0.36
    pretend: float = 0.15
    left_to_right: float = 0.07
    unsigned: float = 0.04
    bracket_blind: float = 0.15
    broken_format: float = 0.22


HABITS = Habits()


def meet(rng: random.Random, habits: Habits = HABITS) -> Student:
    """A random student of a class."""
    return Student(
        slip=rng.choices(habits.slips, habits.slip_odds)[0],
        skip=habits.skip,
        miscopy=habits.miscopy,
        drop=habits.drop,
        hurried=rng.random() < habits.hurried,
        pretend=habits.pretend,
        left_to_right=rng.random() < habits.left_to_right,
        unsigned=rng.random() < habits.unsigned,
        bracket_blind=rng.random() < habits.bracket_blind,
        broken_format=(
            rng.choices(BROKEN_FORMATS, _FORMAT_ODDS)[0]
            if rng.random() < habits.broken_format
            else None
        ),
    )


def slip(rng: random.Random, operator: str, left: int, right: int, value: int) -> int:
    """A plausible wrong result for `left operator right = value`; never `value` itself."""
    amounts = [1, -1, 2, 10, -10]  # a miscount, or a forgotten carry
    if abs(value) > 150:
        amounts += [100, -100]
    if operator == "*":
        amounts += [left, -left, right, -right]  # the neighbour in the times table
    wrong = value + rng.choice(amounts)
    if wrong == value or (wrong < 0 <= value):
        wrong = value + 1
    return wrong


def misread(rng: random.Random, text: str) -> str:
    """The text with one digit changed by one; a text without digits stays as it is."""
    places = [place for place, character in enumerate(text) if character in "0123456789"]
    if not places:
        return text
    place = rng.choice(places)
    digit = int(text[place])
    changed = digit - 1 if digit == 9 or (digit > 1 and rng.random() < 0.5) else digit + 1
    return f"{text[:place]}{changed}{text[place + 1 :]}"


def write(rng: random.Random, student: Student, thought: str, answer: str) -> str:
    """The completion: thought and answer in their tags, or in the student's broken format."""
    if rng.random() < student.miscopy:
        answer = misread(rng, answer)
    match student.broken_format:
        case None:
            return f"<think>{thought}</think><answer>{answer}</answer>"
        case "no opening":
            return f"{thought}</think><answer>{answer}</answer>"
        case "never closed":
            return f"<think>{thought}<answer>{answer}</answer>"
        case "gap":
            return f"<think>{thought}</think>\n<answer>{answer}</answer>"
        case "twice":
            return f"<think>{thought}</think><answer>{answer}</answer><answer>{answer}</answer>"
        case "tail":
            return f"<think>{thought}</think><answer>{answer}</answer> ok"
        case "no end":
            return f"<think>{thought}</think><answer>{answer}"
        case "bare":
            return f"<think>{thought}</think>{answer}"
        case "swapped":
            return f"<think>{thought}</think><answer>{answer}</think>"
    raise ValueError(f"unknown format {student.broken_format!r}")
