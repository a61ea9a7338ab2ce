"""Going down from a curve to a step, its group, an answer and its tokens; and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.record.lane_state import RolloutView
from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group, copy_answer, save_answer
from grpolab.tui.selection import Opens, Place, leave

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp


class Navigation:
    """These actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        context: AppContext
        app: LabApp

        def moved(self) -> None: ...
        def relayout(self) -> None: ...
        def mark(self, marks: set[str]) -> None: ...
        def action_zoom(self) -> None: ...

    # going down

    def action_open(self) -> None:
        """One level down from where the user stands: a step, its group; else zoom."""
        if self.context.current == "rollouts":
            self.action_group()
        elif self.on_curve and self.context.view.cursor is not None:
            view = self.context.view
            self.visit(view.lane, view.cursor or 0, 0, 0, pane="rollouts", name="the curve")
        else:
            self.action_zoom()

    def action_group(self) -> None:
        group = self.selected()
        if group is not None:
            from grpolab.tui.group.screen import GroupScreen

            self.app.push_screen(GroupScreen(self.context, group))

    def action_read(self) -> None:
        group = self.selected()
        if group is not None:
            from grpolab.tui.group.screen import Reader

            self.app.push_screen(Reader(self.context, group))

    def action_answers(self) -> None:
        if self.context.view.lane_state(self.context.state) is None:
            self.context.say("there are no answers yet", "warn")
            self.moved()
            return
        from grpolab.tui.search.screen import AnswersScreen

        self.app.push_screen(AnswersScreen(self.context))

    def action_answer_copy(self) -> None:
        group = self.selected()
        if group is not None:
            copy_answer(self.app, self.context, group)
            self.moved()

    def action_answer_save(self) -> None:
        group = self.selected()
        if group is not None:
            save_answer(self.context, group)
            self.moved()

    def selected(self) -> Group | None:
        """The group and the answer that the lab looks at; a word where there is none yet."""
        context = self.context
        rollout = context.view.rollout(context.state)
        if rollout is None or not rollout.prompts or not rollout.group_size:
            context.say("there is no rollout yet", "warn")
            self.moved()
            return None
        prompt, answer = divmod(context.view.row(rollout), rollout.group_size)
        return Group(context.view.lane, rollout, prompt, answer)

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
        """Hold the view at an answer of any step of the run and speak to `pane`. `name` and
        `screens` say where Esc leads back to."""
        rollout = rollout or self.rollout_at(lane, step)
        if rollout is None:
            return
        context, view = self.context, self.context.view
        leave(context, name, screens, zoom)
        context.rolling = None
        view.lane, view.held = lane, rollout
        view.prompt, view.answer, view.token = prompt, answer, 0
        context.current, context.zoom = pane, zoom
        self._alone()
        self.mark({"lane", "select"})
        self.relayout()
        self.moved()

    def rollout_at(self, lane: str, step: int) -> RolloutView | None:
        """A step's rollout, from memory or from the run file, also one that comes later than the
        clock of a replay; a word where there is none."""
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
        self.moved()
        return None

    def _alone(self) -> None:
        """Close the screens over the lab."""
        while self.app.screen is not self and len(self.app.screen_stack) > 1:
            self.app.pop_screen()

    def go_back(self) -> None:
        """To where the user came from, exactly as it was."""
        place: Place = self.context.back_stack.pop()
        self.context.rolling = None
        place.restore(self.context)
        self.mark({"lane", "select"})
        self.relayout()
        self.moved()
        for opens in place.screens:
            self.app.push_screen(opens(self.context))

    def hold_at(self, lane: str, step: int) -> None:
        """Hold the view at any step of a lane; what is selected stays selected."""
        rollout = self.rollout_at(lane, step)
        if rollout is not None:
            self.context.view.held = rollout
            self.mark({"lane", "select"})
            self.moved()

    # the cursor on the curves

    @property
    def on_curve(self) -> bool:
        """Whether the token keys move along the curves."""
        return self.context.current in ("learning", "kl")

    def move_cursor(self, by: int) -> None:
        """So many finished steps on or back; first to the step that is looked at."""
        view = self.context.view
        lane = view.lane_state(self.context.state)
        steps = list(lane.series("reward")[0]) if lane else []
        if not steps:
            self.context.say("no step is finished yet", "warn")
        elif view.cursor is None:
            view.cursor = view.held.step if view.held else steps[-1]
        else:
            at = min(range(len(steps)), key=lambda i: abs(steps[i] - (view.cursor or 0)))
            view.cursor = steps[max(0, min(len(steps) - 1, at + by))]
        self.moved()

    def put_cursor(self, x: float) -> None:
        """To the finished step nearest to x; on the one it stands at already: go to that step."""
        view = self.context.view
        lane = view.lane_state(self.context.state)
        steps = list(lane.series("reward")[0]) if lane else []
        if steps:
            nearest = min(steps, key=lambda s: abs(s - x))
            if nearest == view.cursor:
                self.action_open()
            else:
                view.cursor = nearest
        self.moved()
