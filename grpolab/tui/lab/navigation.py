"""Where the user is in the lab: pane, prompt, answer, token, the cursor on the curves; moving to
another place, and back."""

from __future__ import annotations

from collections.abc import Callable

from grpolab.analysis.metric_help import METRICS
from grpolab.record.lane_state import RolloutView
from grpolab.record.state import LabState
from grpolab.tui.lab.interface import LabInterface
from grpolab.tui.lab.overlays import Overlays
from grpolab.tui.selection import Opens, Place, leave
from grpolab.tui.widgets.layout import PANES

WITH_CURVES = ("learning", "kl")
"""Panes in which the token keys move a cursor along the steps."""


class Navigation:
    """Moves the selection (`context.view`) and the current pane."""

    def __init__(self, lab: LabInterface, overlays: Overlays) -> None:
        self.lab, self.context, self.overlays = lab, lab.context, overlays

    # the selection

    def move(self, how: Callable[[LabState, int], None], by: int) -> None:
        """Change the selection with one of its own methods, such as `view.move_answer`."""
        how(self.context.state, by)
        self.lab.moved()

    def move_prompt(self, by: int) -> None:
        self.move(self.context.view.move_prompt, by)

    def move_answer(self, by: int) -> None:
        self.move(self.context.view.move_answer, by)

    def move_token(self, by: int) -> None:
        """By `by` tokens; in the panes with curves, by that many finished steps."""
        if self.context.current in WITH_CURVES:
            self._move_cursor(by)
        else:
            self.move(self.context.view.move_token, by)

    def next_channel(self, by: int) -> None:
        self.move(self.context.view.next_channel, by)

    def next_second_channel(self, by: int) -> None:
        self.move(self.context.view.next_second, by)

    def hold_or_follow(self) -> None:
        """Hold the view at its step, or follow the newest step again."""
        view, state = self.context.view, self.context.state
        if view.held is not None:
            view.browse_to(state, None)
            self.context.back_stack.clear()
        else:
            view.hold(state)
        self.lab.moved()

    def next_lane(self) -> None:
        """The next lane; a held view stays at its step."""
        view = self.context.view
        held = view.held
        if not view.next_lane(self.context.state):
            self.context.say("this run has one lane")
        elif held is not None and view.held is None:
            self._hold_at(view.lane, held.step)
        self.lab.mark({"lane"})
        self.lab.moved()

    def select(self, what: str, value: object, again: bool = False) -> None:
        """A click on a prompt, an answer, a token, a channel, a curve or a metric. `again`: the
        click was in the pane that was current already; there, a click on what is selected opens
        it."""
        view = self.context.view
        if again and what == "prompt" and value == view.prompt:
            self.overlays.group()
        elif again and what == "answer" and value == view.answer:
            self.overlays.reader()
        elif what == "prompt" and isinstance(value, int):
            view.prompt, view.token = value, 0
        elif what == "answer" and isinstance(value, int):
            view.answer, view.token = value, 0
        elif what == "token" and isinstance(value, int):
            view.token = value
        elif what == "channel":
            view.channel = str(value)
        elif what == "curve" and isinstance(value, float):
            self._put_cursor(value)
        elif what == "metric":
            self.context.say(f"{value}: {METRICS.get(str(value), '')}", "text")
        self.lab.moved()

    # the current pane

    def show_pane(self, name: str) -> None:
        self.context.current = name
        self.lab.relayout()
        self.lab.moved()

    def next_pane(self, by: int) -> None:
        self.show_pane(PANES[(PANES.index(self.context.current) + by) % len(PANES)])

    def zoom(self) -> None:
        """Give the current pane the whole screen, or restore the layout."""
        self.context.zoom = not self.context.zoom
        self.lab.relayout()
        self.lab.moved()

    def open(self) -> None:
        """One level down: from a curve to its step, from a prompt to its group; else zoom."""
        context = self.context
        if context.current == "rollouts":
            self.overlays.group()
        elif context.current in WITH_CURVES and context.view.cursor is not None:
            view = context.view
            self.visit(view.lane, view.cursor or 0, 0, 0, pane="rollouts", name="the curve")
        else:
            self.zoom()

    # to a place, and back

    def visit(
        self,
        lane: str,
        step: int,
        prompt: int,
        answer: int,
        *,
        pane: str,
        zoom: bool = False,
        rollout: RolloutView | None = None,
        name: str = "",
        screens: tuple[Opens, ...] = (),
    ) -> None:
        """Hold the view at an answer of any recorded step and make `pane` the current one. `name`
        and `screens` say where Esc leads back to."""
        rollout = rollout or self._rollout_at(lane, step)
        if rollout is None:
            return
        context, view = self.context, self.context.view
        leave(context, name, screens, zoom)
        context.rolling = None
        view.lane, view.held = lane, rollout
        view.prompt, view.answer, view.token = prompt, answer, 0
        context.current, context.zoom = pane, zoom
        self._close_overlays()
        self.lab.mark({"lane", "select"})
        self.lab.relayout()
        self.lab.moved()

    def back(self) -> None:
        """One level up: to where the user came from, out of zoom, off the cursor, or back to
        following the newest step."""
        context, back_stack = self.context, self.context.back_stack
        if back_stack and not (context.zoom and not back_stack[-1].zoomed):
            self._restore(back_stack.pop())
        elif context.zoom:
            self.zoom()
        elif context.current in WITH_CURVES and context.view.cursor is not None:
            context.view.cursor = None
            self.lab.moved()
        elif context.view.held is not None:
            self.hold_or_follow()

    def _restore(self, place: Place) -> None:
        """The lab and the screens over it exactly as they were."""
        self.context.rolling = None
        place.restore(self.context)
        self.lab.mark({"lane", "select"})
        self.lab.relayout()
        self.lab.moved()
        for opens in place.screens:
            self.lab.app.push_screen(opens(self.context))

    def _close_overlays(self) -> None:
        app = self.lab.app
        while app.screen is not self.lab and len(app.screen_stack) > 1:
            app.pop_screen()

    def _hold_at(self, lane: str, step: int) -> None:
        """Hold the view at any recorded step of a lane; the selection stays."""
        rollout = self._rollout_at(lane, step)
        if rollout is not None:
            self.context.view.held = rollout
            self.lab.mark({"lane", "select"})
            self.lab.moved()

    def _rollout_at(self, lane: str, step: int) -> RolloutView | None:
        """A step's rollout, from memory or from the run file, also one later than a replay's clock;
        None, with a notice, where there is none."""
        state, past = self.context.state.lanes.get(lane), self.context.source.past
        found = state.rollout_at(step) if state else None
        if found is None and past is not None:
            found = past.rollout(lane, step, ahead=True)
        if found is not None and found.prompts:
            return found
        self.context.say(
            f"the run file has no step {step} of {lane}"
            if found is None
            else f"step {step} of {lane} cannot be read from the run file", "bad",
        )  # fmt: skip
        self.lab.moved()
        return None

    # the cursor on the curves

    def _finished_steps(self) -> list[int]:
        lane = self.context.view.lane_state(self.context.state)
        return list(lane.series("reward")[0]) if lane else []

    def _move_cursor(self, by: int) -> None:
        """By `by` finished steps; the first time, to the step in view."""
        view, steps = self.context.view, self._finished_steps()
        if not steps:
            self.context.say("no step is finished yet", "warn")
        elif view.cursor is None:
            view.cursor = view.held.step if view.held else steps[-1]
        else:
            at = min(range(len(steps)), key=lambda i: abs(steps[i] - (view.cursor or 0)))
            view.cursor = steps[max(0, min(len(steps) - 1, at + by))]
        self.lab.moved()

    def _put_cursor(self, x: float) -> None:
        """To the finished step nearest to x; where the cursor is there already, open that step."""
        view, steps = self.context.view, self._finished_steps()
        if steps:
            nearest = min(steps, key=lambda s: abs(s - x))
            if nearest == view.cursor:
                self.open()
            else:
                view.cursor = nearest
        self.lab.moved()
