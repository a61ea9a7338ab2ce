"""What a viewer knows of one lane: its steps, what was changed, and its rollouts."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol

from grpolab.record import codec
from grpolab.record import events as ev
from grpolab.record.history import Axis, Samples, Steps

# --- rollout_view ---
# One step's answers, as far as they are known.


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


class Archive(Protocol):
    """Where a state's past can be looked up: the run file."""

    def done(self, lane: str, step: int) -> ev.StepDone | None: ...

    def rollout(self, lane: str, step: int) -> RolloutView | None: ...


class Made(NamedTuple):
    """How many of a lane's changes, switches and settings in force a checkpoint keeps."""

    changes: int
    switches: int
    history: int


@dataclass
class LaneState:
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
    history: list[tuple[int, str, str, dict[str, Any]]] = field(default_factory=list)  # see began

    samples: Samples = field(default_factory=Samples)
    archive: Archive | None = None

    def __post_init__(self) -> None:
        self.steps.lane = self.name
        if self.archive is not None:
            self.steps.fetch = partial(self.archive.done, self.name)
        self.began(self.opened)

    @property
    def made(self) -> Made:
        """How much was done to it until now."""
        return Made(len(self.changes), len(self.switches), len(self.history))

    def new_since(self, step: int, saved: dict[str, Made] | None) -> bool:
        """Whether it was forked after this step, or after its checkpoint, which holds `saved`."""
        new = step == 0 and bool(self.parent) if saved is None else self.name not in saved
        return new or self.opened > step

    def made_before(self, step: int) -> Made:
        """The same after so many steps, where no checkpoint tells; at the start nothing was
        done."""
        last = step if step else -1
        changes = sum(c.step <= last for c in self.changes)
        switches = sum(s.step <= last for s in self.switches)
        return Made(changes, switches, sum(h[0] <= last for h in self.history))

    @property
    def last(self) -> ev.StepDone | None:
        return self.steps[-1] if self.steps else None

    @property
    def rollout(self) -> RolloutView | None:
        """The newest rollout, perhaps still streaming."""
        return next(reversed(self.rollouts.values())) if self.rollouts else None

    def rollout_at(self, step: int) -> RolloutView | None:
        """The rollout of any step, be it out of the run file."""
        kept = self.rollouts.get(step)
        if kept is None and self.archive is not None:
            return self.archive.rollout(self.name, step)
        return kept

    def series(self, metric: str, axis: Axis = "step") -> tuple[array[Any], array[Any]]:
        """x and values of one metric, where it was measured: parts of the history, not to be
        changed."""
        return self.steps.series(metric, axis)

    def axis(self, name: Axis) -> array[Any]:
        """Each finished step's place on this axis: its number, or updates, answers, tokens and
        recorded seconds so far."""
        return self.steps.axis(name)

    def in_force(self, step: int) -> tuple[str, str, dict[str, Any]]:
        """Algorithm, preset and settings under which a step was, or will be, computed."""
        found = next((h for h in reversed(self.history) if h[0] < step), self.history[0])
        return found[1:]

    def began(self, step: int) -> None:
        """What is in force now came after this step."""
        self.history.append((step, self.algorithm, self.preset, self.settings))
