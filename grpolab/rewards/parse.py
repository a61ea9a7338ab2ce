"""What a completion's text says: the thought, the answer, and whether the format was kept."""

from __future__ import annotations

from dataclasses import dataclass

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion taken apart. `thought` and `answer` are None where their tags do not pair up."""

    text: str
    thought: str | None
    answer: str | None
    well_formed: bool


def parse_completion(text: str) -> Completion:
    """Take a completion apart; any text is accepted.

    The answer is what stands between the last `<answer>` and the `</answer>` after it. Well formed
    is only `<think>…</think><answer>…</answer>` and nothing else, each tag exactly once.
    """
    well_formed = (
        all(text.count(tag) == 1 for tag in TAGS)
        and text.startswith("<think>")
        and text.find("</think><answer>") > 0
        and text.endswith("</answer>")
    )
    thought = _between(text, text.find("<think>"), "<think>", "</think>")
    answer = _between(text, text.rfind("<answer>"), "<answer>", "</answer>")
    return Completion(text, thought, answer, well_formed)


def _between(text: str, at: int, opening: str, closing: str) -> str | None:
    if at < 0:
        return None
    start = at + len(opening)
    end = text.find(closing, start)
    return None if end < 0 else text[start:end]
