"""What a completion's text says: the thought, the answer, and whether the format was kept."""

from __future__ import annotations

from dataclasses import dataclass

from grpolab.tasks import Span

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion taken apart. A part and its place are None where its tags do not pair up."""

    text: str
    thought_span: Span | None
    answer_span: Span | None
    well_formed: bool

    @property
    def thought(self) -> str | None:
        return None if self.thought_span is None else self.thought_span.text

    @property
    def thought_at(self) -> int | None:
        """Index in `text` of the thought's first character."""
        return None if self.thought_span is None else self.thought_span.at

    @property
    def answer(self) -> str | None:
        return None if self.answer_span is None else self.answer_span.text

    @property
    def answer_at(self) -> int | None:
        """Index in `text` of the answer's first character."""
        return None if self.answer_span is None else self.answer_span.at


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


def _between(text: str, at: int, opening: str, closing: str) -> Span | None:
    if at < 0:
        return None
    start = at + len(opening)
    end = text.find(closing, start)
    return None if end < 0 else Span(text[start:end], start)
