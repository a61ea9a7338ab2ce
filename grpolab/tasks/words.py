"""The words of the embedded tasks in their two languages, and which language a text is in.

A prompt asks in English unless it starts with the Chinese word for "find". The policy joins the
lines of its thoughts with a few connectives; digits and signs belong to no language.
"""

from __future__ import annotations

import random
from typing import Literal

from pydantic import Field

from grpolab.tasks.base import TaskOptions

Language = Literal["en", "zh"]

FIND = "求"
"""Starts a prompt that asks in Chinese."""

USING = "用"
"""Stands before the numbers that a Chinese prompt gives."""

CONNECTIVES: dict[str, dict[Language, str]] = {
    "first": {"en": "first ", "zh": "先"},
    "then": {"en": "then ", "zh": "再"},
    "so": {"en": "so ", "zh": "所以"},
    "check": {"en": "check ", "zh": "检查"},
}
"""What a line of a thought may start with. Each is one token of the embedded policy."""

CHECKS = tuple(CONNECTIVES["check"].values())
"""A line that starts with one of these works an operation again."""

WORDS: dict[str, Language] = {
    words[language]: language for words in CONNECTIVES.values() for language in words
}
"""Every connective and its language."""


class AskedOptions(TaskOptions):
    """Base of the options of tasks that can ask in either language."""

    chinese: float = Field(
        default=0.0, ge=0, le=1, description="share of prompts that ask in Chinese"
    )


def asked_in(rng: random.Random, options: AskedOptions) -> Language:
    """The language of the next prompt."""
    return "zh" if options.chinese and rng.random() < options.chinese else "en"


def asked(rng: random.Random, options: AskedOptions, question: str) -> str:
    """The question, which reads the same in both languages but for its first word."""
    return FIND + question if asked_in(rng, options) == "zh" else question


def language_of(prompt: str) -> Language:
    """The language in which a prompt asks."""
    return "zh" if prompt.startswith(FIND) else "en"


def languages_in(text: str) -> set[Language]:
    """The languages of the connectives in the text; empty where it has none."""
    return {language for word, language in WORDS.items() if word in text}


def is_mixed(prompt: str, thought: str) -> bool:
    """Whether the thought has a word of another language than the prompt's."""
    return bool(languages_in(thought) - {language_of(prompt)})
