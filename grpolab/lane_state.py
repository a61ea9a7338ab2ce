"""What a viewer knows of one lane: its steps, what was changed, and its rollouts."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from grpolab import events as ev
from grpolab.history import Axis, Samples, Steps
from grpolab.rollout_view import RolloutView


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
