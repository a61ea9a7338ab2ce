"""Progress on stderr for runs without a screen. Never markup, never model text.

On a terminal a bar stays at the bottom and lines that matter later (evaluations, switches) scroll
above it; without a terminal there are lines only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from grpolab.launch import write_no_more
from grpolab.record import events as ev
from grpolab.record.lane_state import LaneState
from grpolab.record.state import LabState
from grpolab.record.tail import Timed

MOST_STEP_LINES = 100
"""Without a terminal, a run prints about this many step lines at most."""


class Output(Console):
    """Plain text on stdout, or on another stream. Where nobody reads it any more (`… | head`) it
    raises BrokenPipeError once, as `print` does, and is quiet from then on; rich's own console
    would exit with 1."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        write_no_more(self.file)
        raise BrokenPipeError


class ProgressLines:
    """Lines on stderr and, on a terminal, a bar below them. Use as a context manager."""

    def __init__(self, stream: TextIO | None, *columns: ProgressColumn, **bar: Any) -> None:
        """`columns` and `bar` are what rich's Progress takes; without a terminal there is none."""
        self.console = Output(stream or sys.stderr)
        self._bar: Progress | None = None
        if self.console.is_terminal:
            self._bar = Progress(
                *columns, console=self.console, expand=True, refresh_per_second=4, **bar
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line that scrolls up above the bar. Where nobody reads it, work continues."""
        with suppress(BrokenPipeError):
            self.console.print(line)

    @property
    def unread(self) -> bool:
        """Whether nobody reads it any more."""
        return self.console.quiet


class Plain(ProgressLines):
    """A run's events as progress: give it events, it prints what a person wants to know."""

    def __init__(self, stream: TextIO | None = None) -> None:
        one_line = Column(no_wrap=True)
        phase = Column(no_wrap=True, width=10)
        super().__init__(
            stream,
            TextColumn("{task.description}", markup=False, table_column=phase),
            BarColumn(None),
            TextColumn("{task.fields[numbers]}", markup=False, table_column=one_line),
            TimeElapsedColumn(table_column=Column(no_wrap=True, width=7)),
        )
        self.state = LabState()
        self._task = TaskID(0)
        if self._bar is not None:
            self._task = self._bar.add_task("starting", total=None, numbers="")

    def take(self, events: Iterable[Timed], *, quiet: bool = False) -> list[ev.Event]:
        """Add events to the state and, unless `quiet`, print them; returns them as a list."""
        taken: list[ev.Event] = []
        for t, event in events:
            self.state.apply(event, t)
            taken.append(event)
            if quiet:
                continue
            line = describe(event, self.state)
            if isinstance(event, ev.StepDone) and (self._bar is not None or not self._due(event)):
                line = None
            if line is not None:
                self.say(line)
        if taken and self._bar is not None:
            self._move(self._bar)
        return taken

    def _due(self, step: ev.StepDone) -> bool:
        every = max(1, self.state.steps // MOST_STEP_LINES)
        return step.step % every == 0 or step.step == self.state.steps

    def _move(self, bar: Progress) -> None:
        state = self.state
        lane = next(iter(state.lanes.values()), None)
        phase = "paused" if state.paused else state.phase.phase if state.phase else "starting"
        text = f"{state.step}/{state.steps}"
        if lane is not None:
            text += f"  {lane.algorithm}  {_numbers(lane, narrow=self.console.width < 100)}"
        bar.update(
            self._task,
            description=phase,
            completed=state.step,
            total=state.steps or None,
            numbers=text,
        )


def describe(event: ev.Event, state: LabState) -> str | None:
    """One event as a line of text, or None if it needs none. `state` includes the event already."""
    lane = f"{getattr(event, 'lane', '')}: " if len(state.lanes) > 1 else ""
    at = f"step {getattr(event, 'step', 0)}"
    match event:
        case ev.RunStarted():
            name = event.scenario.get("name", "")
            return (
                f"run {event.run}: {name}, {event.steps} steps, seed {event.seed}, "
                f"{event.device}, {event.threads} threads"
            )
        case ev.Resumed():
            if event.origin == "rewind":
                return f"rewound from step {event.before} to step {event.step}"
            return f"resumed after step {event.step}"
        case ev.ModelLoaded():
            note = f"; {event.note}" if event.note else ""
            return (
                f"model {event.name}: {event.parameters / 1e6:.1f} M parameters, {event.dtype}, "
                f"quantize {event.quantize}, loaded in {event.seconds:.1f} s{note}"
            )
        case ev.LaneOpened():
            origin = f", forked from {event.parent} at step {event.step}" if event.parent else ""
            return f"lane {event.lane}: {event.algorithm}, preset {event.preset}{origin}"
        case ev.StepDone():
            view = state.lanes.get(event.lane)
            numbers = _numbers(view) if view is not None else ""
            seconds = sum(event.seconds.values())
            return f"{lane}{at}/{state.steps}  {event.algorithm}  {numbers}  {seconds:.2f} s"
        case ev.Evaluated():
            return (
                f"{lane}{at}  test accuracy {event.accuracy:.1%} (sampled), "
                f"{event.greedy_accuracy:.1%} (greedy), reward {event.reward:.3f} "
                f"({event.prompts} prompts)"
            )
        case ev.Switched():
            effects = f"; kept: {', '.join(event.kept)}" if event.kept else ""
            effects += f"; reset: {', '.join(event.reset)}" if event.reset else ""
            change = f"switched {event.before} -> {event.after} (by {event.origin})"
            return f"{lane}{at}  {change}{effects}"
        case ev.SettingChanged():
            return (
                f"{lane}{at}  set {event.key}: {event.before} -> {event.after} (by {event.origin})"
            )
        case ev.Extended():
            note = f"; {event.note}" if event.note else ""
            return (
                f"{at}  extended from {event.before} to {event.after} steps "
                f"(by {event.origin}){note}"
            )
        case ev.CriticChanged():
            known = event.explained_variance
            measured = "" if known is None else f", explained variance {known:.2f}"
            return f"{lane}{at}  critic {event.state}{measured}"
        case ev.LensMade():
            also = ", also on the parameters" if event.parameters else ""
            return f"{lane}{at}  lens: {len(event.loss)} algorithms{also}, in {event.path}"
        case ev.After():
            return f"{lane}{at}  after its updates: per-step KL {event.divergence:.4g} per token"
        case ev.KlBenched():
            estimates = ", ".join(f"{e.estimator} {e.value:.4g}" for e in event.estimates)
            return f"{lane}{at}  KL bench: exact {event.exact:.4g} per token; {estimates}"
        case ev.Chatted():
            right = sum(a.correct is True for a in event.answers if a.policy == "now")
            count = sum(a.policy == "now" for a in event.answers)
            graded = f", {right} of the current policy's right" if event.graded else ", not graded"
            return f"{lane}{at}  chat: {count} answers from each policy{graded}"
        case ev.Paused(origin="end"):
            return f"{at}  paused at the end of the run"
        case ev.Paused():
            return f"{at}  paused (by {event.origin})"
        case ev.Refused():
            return f"{at}  refused {event.command.get('do', 'command')}: {event.reason}"
        case ev.Relieved():
            return f"{at}  {event.what}"
        case ev.Failed():
            return f"{at}  failed while {event.where}: {event.error}"
        case _:
            return None


def _numbers(lane: LaneState, *, narrow: bool = False) -> str:
    """The main numbers of a lane; fewer where there is little room."""
    parts: list[str] = []
    metrics = lane.last.metrics if lane.last is not None else {}
    for name, label, form in (
        ("reward", "reward", ".3f"),
        ("accuracy", "accuracy", ".0%"),
        ("kl_ref", "KL", ".4f"),
    ):
        if name in metrics and not (narrow and name == "accuracy"):
            parts.append(f"{label} {metrics[name]:{form}}")
    if lane.evals:
        parts.append(f"test acc {lane.evals[-1].accuracy:.0%}")
    return "  ".join(parts)
