"""The beats of a story: what slow motion shows one after another, each with its caption."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui.credit_trace.model import algorithm_of
from grpolab.tui.slow_motion import captions
from grpolab.tui.slow_motion.model import Beat, Story

SWEEP = {"tokens": 60, "advantage": 14, "gradient": 14, "update": 8}
"""Most beats of each stage that advances token by token."""


def tell(
    lane: LaneState, r: RolloutView, prompt: int, answer: int | None = None, *, still: bool = False
) -> Story:
    """The story of one group of a finished step. `answer`: row to follow closely; `still`: leave
    out the beats that only animate."""
    done = lane.steps.of(r.step)
    story = Story(
        lane=lane,
        r=r,
        prompt=min(prompt, max(0, len(r.prompts) - 1)),
        algorithm=algorithm_of(lane, r),
        updates=done.updates if done is not None else 0,
        answer=answer,
    )
    story.beats = [b for b in _beats(story, still) if not (still and b.sweep)]
    return story


def _beats(story: Story, still: bool) -> Iterator[Beat]:
    longest = max((len(p) for p in story.pieces.values()), default=0)
    yield from _sampling(story, longest, still)
    yield _said("tokens", captions.written(story))
    parts = story.parts()
    for i, name in enumerate(parts):
        yield _said("grade", captions.part(story, name), level=i + 1)
    yield _said("grade", captions.graded(story), level=len(parts) + 1)
    yield _said("advantage", captions.compared(story), share=0.0)
    yield from _sweep("advantage", captions.spreading(story), longest, 0.22)
    yield _said("advantage", captions.spread(story))
    for i, place in enumerate(story.focus):
        yield _said("objective", captions.token(story, place), focus=i)
        if story.branch(place) is not None:
            yield _said("objective", captions.chosen(story, place), level=1, focus=i)
    yield _said("gradient", captions.gradient_begins(story), share=0.0)
    yield from _sweep("gradient", captions.gradient_spreads(story), longest, 0.22)
    yield _said("gradient", captions.gradient_counts(story))
    yield _said("update", captions.before(story), share=0.0)
    if any(any(xs) for xs in story.moved.values()):
        yield from _sweep("update", captions.moving(story), SWEEP["update"], 0.3)
        yield _said("update", captions.after(story))


def _sampling(story: Story, longest: int, still: bool) -> Iterator[Beat]:
    """The answers grow from the first beat on: slowly while one reads what is about to happen, then
    at their pace."""
    begins = _said("tokens", captions.begins(story))
    sweep = list(_sweep("tokens", captions.writing(story), longest, 0.14))
    if still or not sweep:
        yield begins
        return
    first = sweep[: max(1, len(sweep) // 3)]
    for i, beat in enumerate(first):
        seconds = begins.seconds / len(first)
        yield replace(beat, caption=begins.caption, seconds=seconds, sweep=i > 0)
    yield from sweep[len(first) :]


def _said(stage: str, caption: str, share: float = 1.0, level: int = 0, focus: int = 0) -> Beat:
    """A beat that lasts as long as reading its caption takes."""
    return Beat(stage, caption, max(2.0, 1.0 + len(caption) / 17), share, level, focus)


def _sweep(stage: str, caption: str, length: int, seconds: float) -> Iterator[Beat]:
    count = min(max(length, 1), SWEEP[stage])
    for i in range(1, count):
        yield Beat(stage, caption, seconds, i / count, sweep=True)


def shown_of(share: float, length: int) -> int:
    """Tokens of an answer reached by a movement, `length` being the longest answer's."""
    return math.ceil(share * length - 1e-9)


def first_of(beats: Sequence[Beat], stage: str) -> int:
    """Index of a stage's first beat."""
    return next((i for i, b in enumerate(beats) if b.stage == stage), 0)
