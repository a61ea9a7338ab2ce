"""What a viewer knows of one lane: its steps, evaluations, changes (`LaneState`) and the answers of
each step (`RolloutView`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.history import Axis, Samples, Steps


@dataclass
class RolloutView:
    """One step's answers: while they stream, once they are graded, then with per-token channels."""

    step: int
    algorithm: str
    prompts: list[str]
    difficulty: list[str]
    group_size: int
    max_tokens: int
    text: list[str] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    # factories, so that one which is not read yet lacks these attributes: see seek.Stored
    position: int = field(default_factory=int)
    graded: ev.Graded | None = field(default_factory=lambda: None)
    tokens: ev.Tokens | None = field(default_factory=lambda: None)
    after: ev.After | None = field(default_factory=lambda: None)

    @classmethod
    def of(cls, e: ev.RolloutStarted, *more: ev.Event) -> RolloutView:
        """A rollout from its events: its start, and what there is of grades, tokens and log-probs
        after the updates."""
        rows = len(e.prompts) * e.group_size
        view = cls(
            step=e.step,
            algorithm=e.algorithm,
            prompts=e.prompts,
            difficulty=e.difficulty,
            group_size=e.group_size,
            max_tokens=e.max_tokens,
            text=[""] * rows,
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
        self.position = max([self.position, *e.length])  # the sampled events may not have been read

    def rows(self, prompt: int) -> range:
        """Row numbers of one prompt's group."""
        return range(prompt * self.group_size, (prompt + 1) * self.group_size)

    @cached_property
    def _channels(self) -> dict[str, list[list[float]]]:
        return {}

    def channel(self, name: str) -> list[list[float]] | None:
        """Per-token values of every row, or None if they are not known yet or the algorithm has
        none."""
        packed = self.packed().get(name)
        if self.tokens is None or packed is None:
            return None
        if name not in self._channels:
            lengths = [len(p) for p in self.tokens.pieces]
            self._channels[name] = codec.unpack(packed, lengths)
        return self._channels[name]

    def packed(self) -> dict[str, str]:
        """The known channels in packed form: the step's, and `after` if log-probs were measured
        after the updates."""
        known = {} if self.tokens is None else self.tokens.channels
        return known if self.after is None else known | {"after": self.after.change}

    def advantage(self, row: int) -> float | None:
        """Mean advantage of one answer's tokens; None before the step is scored."""
        rows = self.channel("advantage")
        if rows is None or not rows[row]:
            return None
        return sum(rows[row]) / len(rows[row])


class Archive(Protocol):
    """Where earlier steps can be looked up: the run file."""

    def done(self, lane: str, step: int) -> ev.StepDone | None: ...

    def rollout(self, lane: str, step: int) -> RolloutView | None: ...


class Counts(NamedTuple):
    """How many changes, switches and entries of its history a lane has, as at a checkpoint."""

    changes: int
    switches: int
    history: int


@dataclass
class LaneState:
    """One lane: its current algorithm and settings, and what was recorded of it."""

    name: str
    algorithm: str
    preset: str
    settings: dict[str, Any]
    parent: str = ""
    opened: int = 0
    trainable: int = 0
    steps: Steps = field(default_factory=Steps)
    evals: list[ev.Evaluated] = field(default_factory=list)
    switches: list[ev.Switched] = field(default_factory=list)
    changes: list[ev.SettingChanged] = field(default_factory=list)
    critic: ev.CriticChanged | None = None
    lenses: dict[int, ev.LensMade] = field(default_factory=dict)  # by step, the newest of each
    benches: list[ev.KlBenched] = field(default_factory=list)
    chats: list[ev.Chatted] = field(default_factory=list)
    rollouts: dict[int, RolloutView] = field(default_factory=dict)
    # after which step which algorithm, preset and settings began
    history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    archive: Archive | None = None

    def __post_init__(self) -> None:
        self.steps.lane = self.name
        if self.archive is not None:
            self.steps.fetch = partial(self.archive.done, self.name)
        self.began(self.opened)

    @property
    def counts(self) -> Counts:
        """The current counts."""
        return Counts(len(self.changes), len(self.switches), len(self.history))

    def new_since(self, step: int, saved: dict[str, Counts] | None) -> bool:
        """Whether the lane was forked after this step, or after its checkpoint; `saved` are the
        lanes of that checkpoint, if it is known."""
        new = step == 0 and bool(self.parent) if saved is None else self.name not in saved
        return new or self.opened > step

    def counts_at(self, step: int) -> Counts:
        """The counts after a step, from the lists themselves: for a step without a checkpoint."""
        last = step if step else -1
        changes = sum(c.step <= last for c in self.changes)
        switches = sum(s.step <= last for s in self.switches)
        return Counts(changes, switches, sum(h[0] <= last for h in self.history))

    @property
    def last(self) -> ev.StepDone | None:
        return self.steps[-1] if self.steps else None

    @property
    def rollout(self) -> RolloutView | None:
        """The newest rollout; it may still be streaming."""
        return next(reversed(self.rollouts.values())) if self.rollouts else None

    def rollout_at(self, step: int) -> RolloutView | None:
        """The rollout of any step, from the run file if it is no longer in memory."""
        kept = self.rollouts.get(step)
        if kept is None and self.archive is not None:
            return self.archive.rollout(self.name, step)
        return kept

    def series(self, metric: str, axis: Axis = "step") -> tuple[array[Any], array[Any]]:
        """x and values of one metric where it was measured. Do not change them."""
        return self.steps.series(metric, axis)

    def axis(self, name: Axis) -> array[Any]:
        """The place of each finished step on an axis: its number, or updates, answers, tokens or
        recorded seconds so far."""
        return self.steps.axis(name)

    def in_force(self, step: int) -> tuple[str, str, dict[str, Any]]:
        """Algorithm, preset and settings with which a step was, or will be, computed."""
        found = next((h for h in reversed(self.history) if h[0] < step), self.history[0])
        return found[1:]

    def began(self, step: int) -> None:
        """Note that the current algorithm and settings apply from after this step."""
        self.history.append((step, self.algorithm, self.preset, self.settings))
