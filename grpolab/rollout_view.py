"""One step's answers, as far as they are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from grpolab import codec
from grpolab import events as ev


@dataclass
class RolloutView:
    """One step's answers: streaming first, then graded, then with their per-token channels."""

    step: int
    algorithm: str
    prompts: list[str]
    difficulty: list[str]
    group_size: int
    max_tokens: int
    text: list[str] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    # factories, so that one which is not read yet lacks them: see recall.Stored
    position: int = field(default_factory=int)
    graded: ev.Graded | None = field(default_factory=lambda: None)
    tokens: ev.Tokens | None = field(default_factory=lambda: None)
    after: ev.After | None = field(default_factory=lambda: None)

    @classmethod
    def of(cls, e: ev.RolloutStarted, *more: ev.Event) -> RolloutView:
        """A rollout as its events tell it: begun, perhaps graded, perhaps with its tokens,
        perhaps with these after the updates."""
        rows = len(e.prompts) * e.group_size
        view = cls(
            e.step, e.algorithm, e.prompts, e.difficulty, e.group_size, e.max_tokens, [""] * rows
        )
        for event in more:
            if isinstance(event, ev.Graded):
                view.grade(event)
            elif isinstance(event, ev.Tokens):
                view.tokens = event
            elif isinstance(event, ev.After):
                view.after = event
        return view

    def grade(self, e: ev.Graded) -> None:
        self.graded = e
        self.text = list(e.text)
        self.ended = set(range(len(e.text)))
        self.position = max([self.position, *e.length])  # how it was sampled may not be read again

    def rows(self, prompt: int) -> range:
        """Row numbers of one prompt's group."""
        return range(prompt * self.group_size, (prompt + 1) * self.group_size)

    @cached_property
    def _channels(self) -> dict[str, list[list[float]]]:
        return {}

    def channel(self, name: str) -> list[list[float]] | None:
        """Per-token values of every row, or None while they are not known or where the algorithm
        has none."""
        packed = self.packed().get(name)
        if self.tokens is None or packed is None:
            return None
        if name not in self._channels:
            lengths = [len(p) for p in self.tokens.pieces]
            self._channels[name] = codec.unpack(packed, lengths)
        return self._channels[name]

    def packed(self) -> dict[str, str]:
        """The channels that are known, as they came: the step's, and `after` where its tokens were
        measured once more after the updates."""
        known = {} if self.tokens is None else self.tokens.channels
        return known if self.after is None else known | {"after": self.after.change}

    def advantage(self, row: int) -> float | None:
        """Mean advantage of one answer's tokens; None before the step is scored."""
        rows = self.channel("advantage")
        if rows is None or not rows[row]:
            return None
        return sum(rows[row]) / len(rows[row])
