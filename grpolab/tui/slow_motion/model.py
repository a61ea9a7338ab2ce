"""One group of one rollout as a story in six stages, beat by beat: how it was written, graded,
credited, judged by the objective, pushed, and what the step made of it. No widgets here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui import quantities
from grpolab.tui.credit_trace import model as credit_trace
from grpolab.tui.formulas import token_facts

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm
    from grpolab.algorithms.explain import Branch, Term

MOST_TOKENS = 10_000
"""Of a group with more tokens, only some answers are told."""

STAGES = ("tokens", "grade", "advantage", "objective", "gradient", "update")

SWEEP = {"tokens": 60, "advantage": 14, "gradient": 14, "update": 8}
"""Most beats of what moves along the answers."""


@dataclass(frozen=True)
class Beat:
    stage: str
    caption: str
    seconds: float  # at speed 1
    share: float = 1.0  # how far the stage's movement is
    level: int = 0  # grade: reward parts that have fallen; objective: how much of it is shown
    focus: int = 0  # which of the story's tokens it speaks of
    sweep: bool = False  # part of a movement: left out where motion is reduced


Place = tuple[int, int]
"""Row and token."""


@dataclass
class Story:
    """What a stage needs to be drawn and told. Per-token lists are by row."""

    lane: LaneState
    r: RolloutView
    prompt: int
    algorithm: Algorithm | None
    updates: int  # optimizer steps of the step; 0: not known
    answer: int | None = None  # the only row whose tokens are followed closely; None: any
    beats: list[Beat] = field(default_factory=list)

    @property
    def rows(self) -> range:
        return self.r.rows(self.prompt)

    @cached_property
    def pieces(self) -> dict[int, list[str]]:
        """The answers that are told, by row: all of them, unless they are very long."""
        known = self.r.tokens.pieces if self.r.tokens is not None else []
        rows = [row for row in self.rows if row < len(known)]
        first = self.answer if self.answer in rows else next(iter(rows), None)
        kept, total = set(), 0
        for row in sorted(rows, key=lambda row: (row != first, row)):
            total += len(known[row])
            if kept and total > MOST_TOKENS:
                break
            kept.add(row)
        return {row: known[row] for row in rows if row in kept}

    def quantity(self, name: str, row: int) -> list[float]:
        return quantities.values(self.lane, self.r, name, row)

    @cached_property
    def advantage(self) -> dict[int, list[float]]:
        return {row: self.quantity("advantage", row) for row in self.pieces}

    @cached_property
    def push(self) -> dict[int, list[float]]:
        """What really pushed each token; where that was not recorded its advantage."""
        if not self.pushes_known:
            return self.advantage
        return {row: self.quantity("push", row) for row in self.pieces}

    @property
    def pushes_known(self) -> bool:
        return "push" in self.r.packed()

    @cached_property
    def moved(self) -> dict[int, list[float]]:
        """Change of log π by the whole step where that was measured, else until its last update."""
        found = {row: self.quantity("after", row) for row in self.pieces}
        if any(found.values()):
            return found
        return {row: quantities.moved(self.r, row) for row in self.pieces}

    @property
    def measured(self) -> bool:
        """Whether the change by the whole step is known."""
        return "after" in self.r.packed()

    @cached_property
    def critic(self) -> bool:
        found = credit_trace.trace(self.algorithm, self.r, self.rows[0]) if self.algorithm else None
        return found is not None and found.critic

    def facts(self, place: Place) -> tuple[list[Term], Branch] | None:
        """The terms of the formula with one token's numbers, and the branch it is on."""
        row, token = place
        advantage = self.advantage.get(row)
        if self.algorithm is None or not advantage:
            return None
        returns = token_facts.row_of(self.r, "return", row)
        found = token_facts.facts_of(self.algorithm, self.r, row, token, advantage, returns)
        if found is None:
            return None
        return token_facts.terms(self.algorithm, found, self.r), self.algorithm.branch(found)

    def branch(self, place: Place) -> Branch | None:
        found = self.facts(place)
        return found[1] if found is not None else None

    @cached_property
    def focus(self) -> list[Place]:
        """The tokens to look at closely: the one pushed hardest, one that a clip holds, one pushed
        the other way; as many of them as there are."""
        followed = self.pieces if self.answer is None else {self.answer: self.pieces[self.answer]}
        places = [(row, t) for row, pieces in followed.items() for t in range(len(pieces))]

        ratios = {row: quantities.moved(self.r, row) for row in followed}

        def push(place: Place) -> float:
            return _at(self.push[place[0]], place[1])

        def ratio(place: Place) -> float:
            return abs(_at(ratios[place[0]], place[1]))

        hardest = max(places, key=lambda x: (abs(push(x)), ratio(x)), default=None)
        if hardest is None:
            return []
        found = [hardest]
        held = [x for x in places if self.held(x)]
        if held:
            found.append(max(held, key=ratio))
        other = [x for x in places if push(x) * push(hardest) < 0]
        if other:
            found.append(max(other, key=lambda x: abs(push(x))))
        return list(dict.fromkeys(found))

    def held(self, place: Place) -> bool:
        sides = self.r.channel("clip")
        row, token = place
        return bool(sides and row < len(sides) and token < len(sides[row]) and sides[row][token])

    def counts(self) -> tuple[int, int, int, int]:
        """Tokens of the group that are pushed up, down, not at all; of the last, held by a clip."""
        flat = [((row, t), x) for row, xs in self.push.items() for t, x in enumerate(xs)]
        up = sum(x > 0 for _, x in flat)
        down = sum(x < 0 for _, x in flat)
        still = [place for place, x in flat if not x]
        return up, down, len(still), sum(self.held(place) for place in still)

    def obeyed(self) -> tuple[int, int, int, int]:
        """Of the tokens pushed up, how many became likelier, and of how many; the same of those
        pushed down that became less likely."""
        pairs = [
            (x, m)
            for row in self.pieces
            for x, m in zip(self.push[row], self.moved.get(row, ()), strict=False)
        ]
        up = [m for x, m in pairs if x > 0]
        down = [m for x, m in pairs if x < 0]
        return sum(m > 0 for m in up), len(up), sum(m < 0 for m in down), len(down)

    def chances(self, place: Place) -> tuple[float, float] | None:
        """A token's probability before the step and after it."""
        row, token = place
        old = token_facts.row_of(self.r, "logprob", row)
        new = self.moved.get(row)
        if old is None or not new or token >= min(len(old), len(new)):
            return None
        if not (math.isfinite(old[token]) and math.isfinite(new[token])):
            return None
        before = min(old[token], 0.0)
        return math.exp(before), math.exp(min(before + new[token], 0.0))

    @cached_property
    def changes(self) -> list[tuple[Place, float, float, int]]:
        """The group's tokens with their probabilities before and after, and in how many answers
        they are the same choice after the same beginning; those looked at closely first, then
        those that changed most."""
        same: dict[int, list[Place]] = {}  # by what the answer is up to this token
        for row, pieces in self.pieces.items():
            beginning = 0
            for t, piece in enumerate(pieces):
                beginning = hash((beginning, piece))
                same.setdefault(beginning, []).append((row, t))
        near = set(self.focus)
        found = []
        for places in same.values():
            place = next((x for x in places if x in near), places[0])
            if (both := self.chances(place)) is not None:
                found.append((place, *both, len(places)))
        return sorted(found, key=lambda x: (x[0] not in near, -abs(x[2] - x[1])))

    def parts(self) -> list[str]:
        """The reward's parts in the order in which they were given."""
        if self.r.graded is None:
            return []
        return list(dict.fromkeys(k for row in self.rows for k in self.r.graded.parts[row]))


def tell(
    lane: LaneState, r: RolloutView, prompt: int, answer: int | None = None, *, still: bool = False
) -> Story:
    """The story of one group of a finished step. `answer` is the row to follow closely; `still`
    leaves out what only moves."""
    done = lane.steps.of(r.step)
    story = Story(
        lane, r, min(prompt, max(0, len(r.prompts) - 1)), credit_trace.algorithm_of(lane, r),
        done.updates if done is not None else 0, answer,
    )  # fmt: skip
    story.beats = [b for b in _beats(story) if not (still and b.sweep)]
    return story


def _beats(story: Story) -> Iterator[Beat]:
    from grpolab.tui.slow_motion import words

    longest = max((len(p) for p in story.pieces.values()), default=0)
    yield _said("tokens", words.begins(story), share=0.0)
    yield from _sweep("tokens", words.writing(story), longest, 0.14)
    yield _said("tokens", words.written(story))
    parts = story.parts()
    for i, name in enumerate(parts):
        yield _said("grade", words.part(story, name), level=i + 1)
    yield _said("grade", words.graded(story), level=len(parts) + 1)
    yield _said("advantage", words.compared(story), share=0.0)
    yield from _sweep("advantage", words.spreading(story), longest, 0.22)
    yield _said("advantage", words.spread(story))
    for i, place in enumerate(story.focus):
        yield _said("objective", words.token(story, place), focus=i)
        if story.branch(place) is not None:
            yield _said("objective", words.chosen(story, place), level=1, focus=i)
    yield _said("gradient", words.pushes(story), share=0.0)
    yield from _sweep("gradient", words.pushing(story), longest, 0.22)
    yield _said("gradient", words.pushed(story))
    yield _said("update", words.before(story), share=0.0)
    if any(any(xs) for xs in story.moved.values()):
        yield from _sweep("update", words.moving(story), SWEEP["update"], 0.3)
        yield _said("update", words.after(story))


def _said(stage: str, caption: str, share: float = 1.0, level: int = 0, focus: int = 0) -> Beat:
    """A beat as long as it takes to read it."""
    return Beat(stage, caption, max(2.0, 1.0 + len(caption) / 17), share, level, focus)


def _sweep(stage: str, caption: str, length: int, seconds: float) -> Iterator[Beat]:
    count = min(max(length, 1), SWEEP[stage])
    for i in range(1, count):
        yield Beat(stage, caption, seconds, i / count, sweep=True)


def _at(x: Sequence[float], i: int) -> float:
    """A finite number, or 0 where there is none."""
    return x[i] if i < len(x) and math.isfinite(x[i]) else 0.0


def shown_of(share: float, length: int) -> int:
    """How many of an answer's tokens a movement has reached, of the longest one's `length`."""
    return math.ceil(share * length - 1e-9)


def first_of(beats: Sequence[Beat], stage: str) -> int:
    """Where a stage begins."""
    return next((i for i, b in enumerate(beats) if b.stage == stage), 0)
