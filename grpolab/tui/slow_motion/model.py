"""The numbers of one group of one rollout as slow motion tells them, in six stages: sampling,
reward, advantage, objective, gradient, and the change by the update. No widgets here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.tui import quantities
from grpolab.tui.credit_trace.model import trace
from grpolab.tui.formulas import token_facts
from grpolab.tui.widgets.signs import settled

if TYPE_CHECKING:
    from grpolab.algorithms import Algorithm
    from grpolab.algorithms.explain import Branch, Term

MOST_TOKENS = 10_000
"""Of a group with more tokens, only some answers are shown."""

STAGES = ("tokens", "grade", "advantage", "objective", "gradient", "update")


@dataclass(frozen=True)
class Beat:
    stage: str
    caption: str
    seconds: float  # at speed 1
    share: float = 1.0  # progress of the stage's animation
    level: int = 0  # grade: reward parts shown; objective: 1 shows the branch too
    focus: int = 0  # index in Story.focus
    sweep: bool = False  # animation only: left out with reduced motion


Place = tuple[int, int]
"""Row of the rollout, and token."""


@dataclass
class Story:
    """What the stages show. Per-token lists are by row of the rollout."""

    lane: LaneState
    r: RolloutView
    prompt: int
    algorithm: Algorithm | None
    updates: int  # optimizer steps of the step; 0: unknown
    answer: int | None = None  # the row to follow closely; None: any
    beats: list[Beat] = field(default_factory=list)

    @property
    def rows(self) -> range:
        return self.r.rows(self.prompt)

    @cached_property
    def pieces(self) -> dict[int, list[str]]:
        """Tokens of the shown answers, by row: all answers, unless they are very long."""
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
        """Gradient weight of each token (−∂loss/∂log π × tokens), its advantage if that was not
        recorded. Rounding error is 0."""
        found = self.advantage
        if self.pushes_known:
            found = {row: self.quantity("push", row) for row in self.pieces}
        sizes = [abs(x) for xs in found.values() for x in xs if math.isfinite(x)]
        scale = max(sizes, default=0.0)
        return {row: [settled(x, max(1.0, scale)) for x in xs] for row, xs in found.items()}

    @property
    def pushes_known(self) -> bool:
        return "push" in self.r.packed()

    @cached_property
    def moved(self) -> dict[int, list[float]]:
        """Change of log π by the whole step if measured, else until its last update began."""
        found = {row: self.quantity("after", row) for row in self.pieces}
        if any(found.values()):
            return found
        return {row: quantities.moved(self.r, row) for row in self.pieces}

    @property
    def measured(self) -> bool:
        """Whether the change by the whole step was measured."""
        return "after" in self.r.packed()

    @cached_property
    def critic(self) -> bool:
        found = trace(self.algorithm, self.r, self.rows[0]) if self.algorithm else None
        return found is not None and found.critic

    def facts(self, place: Place) -> tuple[list[Term], Branch] | None:
        """The formula's terms with one token's values, and the branch it takes."""
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
        """The tokens to look at closely, as far as they exist: the one with the largest gradient, a
        clipped one, and one with a gradient of the opposite sign."""
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
        clipped = [x for x in places if self.clipped(x)]
        if clipped:
            found.append(max(clipped, key=ratio))
        other = [x for x in places if push(x) * push(hardest) < 0]
        if other:
            found.append(max(other, key=lambda x: abs(push(x))))
        return list(dict.fromkeys(found))

    def clipped(self, place: Place) -> bool:
        sides = self.r.channel("clip")
        row, token = place
        return bool(sides and row < len(sides) and token < len(sides[row]) and sides[row][token])

    def counts(self) -> tuple[int, int, int, int]:
        """Tokens reinforced, penalized, without gradient, and how many of the last are clipped."""
        flat = [((row, t), x) for row, xs in self.push.items() for t, x in enumerate(xs)]
        up = sum(x > 0 for _, x in flat)
        down = sum(x < 0 for _, x in flat)
        still = [place for place, x in flat if not x]
        return up, down, len(still), sum(self.clipped(place) for place in still)

    def followed(self) -> tuple[int, int, int, int]:
        """(rose, reinforced, fell, penalized): how many of the reinforced tokens rose in
        probability, and how many of the penalized ones fell."""
        pairs = [
            (x, m)
            for row in self.pieces
            for x, m in zip(self.push[row], self.moved.get(row, ()), strict=False)
        ]
        up = [m for x, m in pairs if x > 0]
        down = [m for x, m in pairs if x < 0]
        return sum(m > 0 for m in up), len(up), sum(m < 0 for m in down), len(down)

    def chances(self, place: Place) -> tuple[float, float] | None:
        """A token's probability before and after the step."""
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
        """The group's tokens: (place, probability before, after, answers that share the token and
        all before it). The tokens of `focus` come first, then the largest changes."""
        same: dict[int, list[Place]] = {}  # by the hash of the answer up to this token
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
        """Names of the reward parts, in their order."""
        if self.r.graded is None:
            return []
        return list(dict.fromkeys(k for row in self.rows for k in self.r.graded.parts[row]))


def _at(x: Sequence[float], i: int) -> float:
    """x[i] if it exists and is finite, else 0."""
    return x[i] if i < len(x) and math.isfinite(x[i]) else 0.0
