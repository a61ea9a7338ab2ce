"""The selection (lane, step, prompt, answer, token, channel) and the places Esc goes back to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grpolab.record.events import StepDone
from grpolab.record.lane_state import LaneState, RolloutView
from grpolab.record.state import LabState
from grpolab.tui import quantities

if TYPE_CHECKING:
    from textual.screen import Screen

    from grpolab.tui.context import AppContext


@dataclass
class View:
    """What the lab shows. It follows the newest step unless it is held at one."""

    lane: str = ""
    prompt: int = 0
    answer: int = 0
    token: int = 0
    channel: str = quantities.AUTO
    second: str = ""  # another channel beside it; none if empty
    held: RolloutView | None = None
    cursor: int | None = None  # the step chosen on the curves

    def lane_state(self, state: LabState) -> LaneState | None:
        """The selected lane; the first one until another is chosen."""
        if self.lane not in state.lanes:
            self.lane = next(iter(state.lanes), "")
        return state.lanes.get(self.lane)

    def rollout(self, state: LabState) -> RolloutView | None:
        """The held rollout, or the newest one, perhaps still streaming."""
        if self.held is not None:
            return self.held
        lane = self.lane_state(state)
        return lane.rollout if lane else None

    def scored(self, state: LabState) -> RolloutView | None:
        """The newest rollout whose tokens have their channels; while one is sampled, the one
        before."""
        if self.held is not None:
            return self.held if self.held.tokens is not None else None
        lane = self.lane_state(state)
        rollouts = reversed(lane.rollouts.values()) if lane else ()
        return next((r for r in rollouts if r.tokens is not None), None)

    def pictured(self, state: LabState) -> RolloutView | None:
        """The rollout whose group is shown: the held one, else the newest with its channels, else
        the newest that is graded, else the one that is being sampled."""
        if self.held is not None:
            return self.held
        if (scored := self.scored(state)) is not None:
            return scored
        lane = self.lane_state(state)
        rollouts = reversed(lane.rollouts.values()) if lane else ()
        return next((r for r in rollouts if r.graded is not None), self.rollout(state))

    def chosen(self, state: LabState) -> quantities.Chosen:
        """The channel that is shown of the group in view."""
        r = self.scored(state)
        if r is None or r.tokens is None or not r.group_size:
            return quantities.Chosen("advantage")
        prompt = self.row(r) // r.group_size
        return quantities.chosen(self.lane_state(state), r, prompt, self.channel)

    def done(self, state: LabState) -> StepDone | None:
        """The finished step whose numbers belong to the view."""
        lane = self.lane_state(state)
        if lane is None:
            return None
        if self.held is None:
            return lane.last
        return lane.steps.upto(self.held.step)

    def in_force(self, state: LabState) -> tuple[str, str, dict[str, Any]]:
        """Algorithm, preset and settings of the held step, or the current ones."""
        lane = self.lane_state(state)
        if lane is None:
            return "", "", {}
        if self.held is not None:
            return lane.in_force(self.held.step)
        return lane.algorithm, lane.preset, lane.settings

    def row(self, rollout: RolloutView) -> int:
        """The selected answer's row in a rollout, whatever its shape."""
        prompt = min(self.prompt, max(0, len(rollout.prompts) - 1))
        return prompt * rollout.group_size + min(self.answer, max(0, rollout.group_size - 1))

    def token_count(self, state: LabState) -> int:
        rollout = self.scored(state)
        if rollout is None or rollout.tokens is None:
            return 0
        row = self.row(rollout)
        return len(rollout.tokens.pieces[row]) if row < len(rollout.tokens.pieces) else 0

    def channels(self, state: LabState) -> list[str]:
        """Channels that the rollout has, in the order in which they are offered."""
        rollout = self.scored(state)
        if rollout is None or rollout.tokens is None:
            return ["advantage"]
        return quantities.offered(self.lane_state(state), rollout) or ["advantage"]

    def move_prompt(self, state: LabState, by: int) -> None:
        rollout = self.pictured(state)
        if rollout is not None and rollout.prompts:
            self.prompt = (min(self.prompt, len(rollout.prompts) - 1) + by) % len(rollout.prompts)
            self.token = 0

    def move_answer(self, state: LabState, by: int) -> None:
        """To the next answer; past the last of a group to the first of the next prompt."""
        rollout = self.pictured(state)
        if rollout is None or not rollout.prompts or not rollout.group_size:
            return
        rows = len(rollout.prompts) * rollout.group_size
        self.prompt, self.answer = divmod((self.row(rollout) + by) % rows, rollout.group_size)
        self.token = 0

    def move_token(self, state: LabState, by: int) -> None:
        n = self.token_count(state)
        self.token = max(0, min(n - 1, min(self.token, n - 1) + by)) if n else 0

    def next_channel(self, state: LabState, by: int = 1) -> None:
        """The next channel that the step has; before the first of them, `auto`."""
        offered = [quantities.AUTO, *self.channels(state)]
        at = offered.index(self.channel) if self.channel in offered else 0
        self.channel = offered[(at + by) % len(offered)]

    def next_second(self, state: LabState, by: int = 1) -> None:
        """Another second channel, or none."""
        first = self.chosen(state).name
        others = ["", *(c for c in self.channels(state) if c != first)]
        at = others.index(self.second) if self.second in others else 0
        self.second = others[(at + by) % len(others)]

    def next_lane(self, state: LabState) -> bool:
        """Go to the next lane; False if there is only one. A held view stays at its step if the new
        lane still has it in memory."""
        names = list(state.lanes)
        if len(names) < 2:
            return False
        at = names.index(self.lane) if self.lane in names else -1
        step = self.held.step if self.held else None
        self.lane = names[(at + 1) % len(names)]
        self.held = state.lanes[self.lane].rollout_at(step) if step is not None else None
        return True

    def hold(self, state: LabState) -> None:
        """Hold the view at the newest complete rollout, or at the streaming one if there is no
        other."""
        self.held = self.scored(state) or self.rollout(state)

    def browse(self, state: LabState, by: int) -> None:
        """To an older or newer step; beyond the newest the view follows again."""
        lane = self.lane_state(state)
        if lane is None or not lane.rollouts:
            return
        done = lane.axis("step")  # and what is still under way
        more = [step for step in lane.rollouts if not len(done) or step > done[-1]]
        here = self.held.step if self.held else next(reversed(lane.rollouts))
        at = bisect_left(done, here)
        at = max(0, (at if at < len(done) else len(done) + bisect_left(more, here)) + by)
        if at < len(done):
            self.browse_to(state, int(done[at]))
        else:
            at -= len(done)
            self.browse_to(state, more[at] if at < len(more) else None)

    def browse_to(self, state: LabState, step: int | None) -> None:
        """To a step, or the nearest one that is available; None follows the newest."""
        lane = self.lane_state(state)
        if lane is None or step is None:
            self.held = None
            return
        held = lane.rollout_at(step)
        if held is None and lane.rollouts:
            held = lane.rollouts[min(lane.rollouts, key=lambda s: abs(s - step))]
        self.held = held

    def step(self, state: LabState) -> int:
        """The step in view: the held one, or the newest finished one."""
        lane = self.lane_state(state)
        if self.held is not None:
            return self.held.step
        return lane.last.step if lane is not None and lane.last is not None else 0

    def again(self, state: LabState) -> None:
        """The state was rebuilt: find the held rollout in it."""
        lane = self.lane_state(state)
        if self.held is not None and lane is not None:
            # one that was read from the run file, or is later than the clock, stays
            self.held = lane.rollout_at(self.held.step) or self.held


LONGEST = 12
"""Places that are remembered at most."""

Opens = Callable[["AppContext"], "Screen[None]"]
"""Opens a screen over the lab again as it was."""


@dataclass(frozen=True)
class Place:
    """Where the user was before going to another place: the view, the pane, the screens over it."""

    name: str  # "the group", as in "back to …"
    view: View
    current: str
    zoom: bool
    screens: tuple[Opens, ...] = ()  # from the lowest to the topmost
    zoomed: bool = False  # whether leaving it zoomed a pane

    def restore(self, context: AppContext) -> None:
        """Restore the view and the pane; the lab's screen opens `screens`."""
        lane, held = self.view.lane, self.view.held
        context.view = replace(self.view)
        if lane not in context.state.lanes and held is None:
            context.view.lane = next(iter(context.state.lanes), "")
        context.current, context.zoom = self.current, self.zoom


def leave(
    context: AppContext, name: str, screens: tuple[Opens, ...] = (), zoomed: bool = False
) -> None:
    """Remember where the user is now, under `name`."""
    place = Place(name, replace(context.view), context.current, context.zoom, screens, zoomed)
    context.back_stack = [*context.back_stack[1 - LONGEST :], place]
