"""What every task shares: prompt record, grade, steps, and the split into training and held-out
prompts."""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

HELD_OUT_SHARE = 16
"""One key in this many is held out."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question. Every field is JSON-able, so that a prompt can be stored in an event.

    `key` is the canonical form that decides whether the prompt is held out; `data` is what the
    grader needs to know; `difficulty` is one of easy, medium, hard.
    """

    task: str
    text: str
    key: str
    data: dict[str, Any]
    difficulty: str

    def to_dict(self) -> dict[str, Any]:
        """The prompt as a JSON-able dictionary; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Prompt:
        """Rebuild a prompt from `to_dict`. Raises ValueError naming what is missing or unknown."""
        names = {field.name for field in fields(cls)}
        if missing := names - set(record):
            raise ValueError(f"a prompt record lacks {', '.join(sorted(missing))}")
        if unknown := set(record) - names:
            raise ValueError(f"a prompt record has unknown keys: {', '.join(sorted(unknown))}")
        for name in sorted(names - {"data"}):
            if not isinstance(record[name], str):
                raise ValueError(f"a prompt record's {name} must be a text")
        return cls(**record)


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade: `score` in [0, 1], `correct` only for the best possible answer."""

    score: float
    correct: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Span:
    """The thought's or the answer's text, and the index of its first character in the completion.

    The tag that closes it follows, so the index after its last character is in the completion too.
    """

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Step:
    """One graded step of a completion: `score` in [0, 1].

    `end` is the index in the completion's text of the character after the step's last one; `text`
    is the step itself, empty where a step is missing.
    """

    end: int
    score: float
    detail: str
    text: str = ""


class TaskOptions(BaseModel):
    """Base of every task's options: unknown keys are refused, values are not mutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Task(ABC):
    """A source of prompts and the grader that belongs to them.

    A subclass names itself, describes itself in one line, declares its `Options`, proposes prompts
    and grades answers. `propose` must produce prompts of both splits. A task that can tell
    right steps from wrong ones, or read its prompts back, says so in `steps` and `from_text`.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    Options: ClassVar[type[TaskOptions]]

    def __init__(self, options: TaskOptions | None = None) -> None:
        """A task with these options, or its defaults. Raises TypeError on another task's."""
        options = self.Options() if options is None else options
        if not isinstance(options, self.Options):
            raise TypeError(f"{self.name} takes {self.Options.__name__}, not {options!r}")
        self.options: Any = options  # each task's own class; the check above is the guard

    @abstractmethod
    def propose(self, rng: random.Random) -> Prompt:
        """Any prompt of the task, held out or not."""

    @abstractmethod
    def grade(self, prompt: Prompt, answer: str | None) -> Grade:
        """Grade the text between the answer tags. Never raises, whatever the text is."""

    def steps(self, prompt: Prompt, thought: Span | None, answer: Span | None) -> tuple[Step, ...]:
        """Grade single steps, in the order of the text. Never raises on any text.

        A part is None where its tags do not pair up. `end` never falls from step to step; it stays
        only between missing ones. A task that does not override this has no steps.
        """
        return ()

    @classmethod
    def from_text(cls, text: str) -> Prompt:
        """The prompt with this text. Raises ValueError, one line, if there is none.

        What `propose` gave is given back but for the difficulty, which no text tells: it is medium.
        """
        raise ValueError(f"{cls.name} cannot be graded from text alone; give its prompt record")

    def draw(self, rng: random.Random, *, held_out: bool) -> Prompt:
        """One prompt of the training or the held-out split; `rng` decides which."""
        while True:
            prompt = self.propose(rng)
            if is_held_out(prompt.key) == held_out:
                return prompt


def is_held_out(key: str) -> bool:
    """Whether the prompt with this canonical key is only for evaluation.

    The partition depends on the key only: not on a seed, a Python version or the task's options.
    """
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELD_OUT_SHARE == 0
