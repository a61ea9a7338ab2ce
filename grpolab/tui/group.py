"""A group of answers, looked at: which step and prompt, in which order, which answer, and what was
found out about each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from grpolab.rollout_view import RolloutView
from grpolab.state import LabState

ORDERS = ("as sampled", "reward", "advantage", "length")


@dataclass
class Group:
    """Where the user is in a step's groups; the group and the answer screen share one."""

    lane: str
    rollout: RolloutView
    prompt: int = 0
    answer: int = 0  # as sampled, whatever the order
    order: str = ORDERS[0]
    down: bool = True  # the largest first
    scrolled: int = 0  # rows of the answers' texts
    rendered: bool = False
    apart: bool = False  # whether what two answers share stands back
    top: int = 0  # of the answer that is read
    _sorted: tuple[object, list[int]] = field(default=((), []), repr=False)

    @property
    def rows(self) -> range:
        return self.rollout.rows(self.prompt)

    @property
    def row(self) -> int:
        """Of the selected answer, in the rollout."""
        return self.prompt * self.rollout.group_size + self.answer

    def sorted(self) -> list[int]:
        """The answers of the group in the chosen order; what has no number yet comes last."""
        r = self.rollout
        now = (id(r), self.prompt, self.order, self.down, id(r.graded), id(r.tokens))
        if self._sorted[0] != now:
            self._sorted = now, self._sort()
        return self._sorted[1]

    def _sort(self) -> list[int]:
        size = self.rollout.group_size
        keys = {i: self._key(i) for i in range(size)}
        known = [i for i in range(size) if not math.isnan(keys[i])]
        if self.order == ORDERS[0]:
            return list(range(size)) if self.down else list(range(size - 1, -1, -1))
        known.sort(key=lambda i: (-keys[i] if self.down else keys[i], i))
        return known + [i for i in range(size) if math.isnan(keys[i])]

    def _key(self, answer: int) -> float:
        row, graded = self.prompt * self.rollout.group_size + answer, self.rollout.graded
        if self.order == "advantage":
            value = self.rollout.advantage(row)
        elif graded is None or row >= len(graded.reward):
            value = None
        elif self.order == "length":
            value = float(graded.length[row])
        else:
            value = graded.reward[row]
        return math.nan if value is None else value

    def renew(self, state: LabState) -> None:
        """Where the step's sampling began anew, with more prompts: look at that."""
        lane = state.lanes.get(self.lane)
        now = lane.rollouts.get(self.rollout.step) if lane else None
        if now is not None and now is not self.rollout and self.rollout.graded is None:
            self.rollout = now
            self.prompt = min(self.prompt, max(0, len(now.prompts) - 1))
            self.answer = min(self.answer, max(0, now.group_size - 1))

    def move(self, by: int) -> None:
        """To another answer, in the chosen order; stays within the group."""
        order = self.sorted()
        if order:
            at = order.index(self.answer) if self.answer in order else 0
            self.answer = order[max(0, min(len(order) - 1, at + by))]
            self.top = 0

    def move_prompt(self, by: int) -> None:
        """To another group of the step; the first answer of its order."""
        self.prompt = (self.prompt + by) % max(1, len(self.rollout.prompts))
        self.top = self.scrolled = 0
        if self.order != ORDERS[0]:
            self.answer = next(iter(self.sorted()), 0)

    def next_order(self) -> None:
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    def stats(self) -> tuple[float, float] | None:
        """Mean and spread of the group's rewards; None before they are graded."""
        graded = self.rollout.graded
        rewards = [graded.reward[i] for i in self.rows if i < len(graded.reward)] if graded else []
        if not rewards:
            return None
        mean = sum(rewards) / len(rewards)
        return mean, math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))


def mark(r: RolloutView, row: int) -> tuple[str, str, str]:
    """An answer's state: its glyph, its colour, and in words."""
    g = r.graded
    if g is None or row >= len(g.finished):
        return ("▪", "dim", "finished") if row in r.ended else ("◌", "faint", "being sampled")
    if not g.finished[row]:
        return "✂", "warn", "cut"
    return ("●", "good", "right") if g.correct[row] else ("○", "bad", "wrong")


def shared(a: str, b: str) -> int:
    """How many characters two texts have in common from their beginning."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    low, high = 0, n
    while high - low > 1:  # a[:low] == b[:low], a[:high] != b[:high]
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low
