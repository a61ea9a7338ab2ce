"""Students: how they work, how they slip, and how they break the format.

The policy is pretrained on what they write. Most of them do not work carefully, and the prompt does
not tell who answers it. So the policy's most probable answer is a guess and mostly wrong, the right
way is in it but rare, and reinforcement learning has something to select.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

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

WAYS = ("guess", "hurry", "careful", "check")
"""How a student works, from no step at all to every step and a second look at some of them."""

GUESSES = ("right", "estimate", "slip")
"""What an answer without any work is: known by heart, the task's rule of thumb, or just wrong."""


@dataclass(frozen=True, slots=True)
class Student:
    """One student: probabilities for each step or answer, and standing misconceptions."""

    guess: str | None = None
    """One of GUESSES: answers from the head, without work."""
    slip: float = 0.0
    """A step's result is wrong by a plausible amount."""
    stop: float = 0.0
    """After a line, no more is written: the other steps are done in the head, and slip more
    easily."""
    check: float = 0.0
    """A step is worked again on a line of its own. A slip always is, and so is mended."""
    calls: bool = False
    """Lets a calculator work each step."""
    words: float = 0.0
    """A line starts with a connective."""
    mixes: float = 0.0
    """A connective is in the language that the prompt does not ask in."""
    says_so: bool = False
    """The thought ends with the answer."""
    miscopy: float = 0.0
    """The answer is not what the thought ended with."""
    drop: float = 0.0
    """A part of the question is forgotten."""
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

Shares = tuple[float, float, float, float]
Outcomes = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Habits:
    """A class of students. By difficulty of the prompt: easy, medium, hard."""

    ways: Mapping[str, tuple[Shares, Shares, Shares]] = field(
        default_factory=lambda: {
            "sums": (
                (0.60, 0.19, 0.13, 0.08),
                (0.66, 0.15, 0.12, 0.07),
                (0.70, 0.13, 0.11, 0.06),
            ),
            "countdown": (
                (0.52, 0.26, 0.14, 0.08),
                (0.58, 0.24, 0.12, 0.06),
                (0.62, 0.22, 0.10, 0.06),
            ),
            "slots": (
                (0.46, 0.32, 0.14, 0.08),
                (0.53, 0.28, 0.12, 0.07),
                (0.58, 0.26, 0.10, 0.06),
            ),
            "program": (
                (0.50, 0.28, 0.14, 0.08),
                (0.56, 0.26, 0.12, 0.06),
                (0.60, 0.24, 0.10, 0.06),
            ),
        }
    )
    """Shares of WAYS, on each task."""
    guesses: Mapping[str, tuple[Outcomes, Outcomes, Outcomes]] = field(
        default_factory=lambda: {
            "sums": ((0.42, 0.43, 0.15), (0.24, 0.60, 0.16), (0.14, 0.70, 0.16)),
            "countdown": ((0.10, 0.70, 0.20), (0.05, 0.75, 0.20), (0.02, 0.78, 0.20)),
            "slots": ((0.20, 0.60, 0.20), (0.08, 0.72, 0.20), (0.04, 0.76, 0.20)),
            "program": ((0.10, 0.75, 0.15), (0.05, 0.80, 0.15), (0.02, 0.83, 0.15)),
        }
    )
    """Shares of GUESSES, on each task."""
    slip: Mapping[str, float] = field(
        default_factory=lambda: {"hurry": 0.07, "careful": 0.035, "check": 0.10}
    )
    """A written step goes wrong: those who check are no better at it, but mend it."""
    stop: float = 0.75
    check: float = 0.35
    words: Mapping[str, float] = field(
        default_factory=lambda: {"guess": 0.15, "hurry": 0.35, "careful": 0.6, "check": 0.7}
    )
    """Share of students who use connectives, on four lines of five."""
    mixing: Mapping[str, float] = field(
        default_factory=lambda: {"guess": 0.2, "hurry": 0.5, "careful": 0.8, "check": 0.8}
    )
    """Share of those with connectives who take each from either language."""
    says_so: float = 0.25
    calls: float = 0.6
    """Where a calculator is offered."""
    miscopy: float = 0.015
    drop: float = 0.01
    pretend: float = 0.12
    left_to_right: Mapping[str, tuple[float, float]] = field(
        default_factory=lambda: {
            "guess": (0.0, 0.0),
            "hurry": (0.5, 0.6),
            "careful": (0.04, 0.12),
            "check": (0.0, 0.0),
        }
    )
    """Of those without and with connectives: who writes fluently is not always right."""
    unsigned: float = 0.03
    bracket_blind: float = 0.12
    broken_format: float = 0.28


HABITS = Habits()

LEVELS = ("easy", "medium", "hard")


def meet(
    rng: random.Random, task: str, difficulty: str, *, tool: bool = False, habits: Habits = HABITS
) -> Student:
    """A random student of a class, as one works on this kind of prompt."""
    level = LEVELS.index(difficulty)
    way = rng.choices(WAYS, habits.ways[task][level])[0]
    wordy = rng.random() < habits.words[way]
    guessing, checking = way == "guess", way == "check"
    return Student(
        guess=rng.choices(GUESSES, habits.guesses[task][level])[0] if guessing else None,
        slip=0.0 if guessing else habits.slip[way],
        stop=habits.stop if way == "hurry" else 0.0,
        check=habits.check if checking else 0.0,
        calls=tool and not guessing and rng.random() < habits.calls,
        words=0.8 if wordy else 0.0,
        mixes=0.5 if wordy and rng.random() < habits.mixing[way] else 0.0,
        says_so=wordy and (guessing or rng.random() < habits.says_so),
        miscopy=0.0 if checking else habits.miscopy,
        drop=0.0 if checking else habits.drop,
        pretend=0.0 if checking else habits.pretend,
        left_to_right=rng.random() < habits.left_to_right[way][wordy],
        unsigned=not checking and rng.random() < habits.unsigned,
        bracket_blind=not checking and rng.random() < habits.bracket_blind,
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
        amounts += [left, -left, right, -right]  # the neighbor in the times table
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
