"""Open the screens that lie over the lab. Each is imported when it is first opened: none of them
delays the lab's first frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from grpolab.tui.lab.interface import LabInterface

if TYPE_CHECKING:
    from textual.screen import Screen

    from grpolab.tui.group.model import Group

CURVES_OF_PANE = {"kl": ("kl_ref", "kl_old"), "learning": ("reward", "test accuracy")}
"""Metrics that the curves screen shows first, by the pane from which it is opened."""


class Overlays:
    """The screens over the lab, opened on what the lab shows."""

    def __init__(self, lab: LabInterface) -> None:
        self.lab, self.context = lab, lab.context

    def lens(self) -> None:
        from grpolab.tui.lens.screen import LensScreen

        self._open(LensScreen)

    def formulas(self) -> None:
        from grpolab.tui.formulas.screen import FormulaScreen

        self._open(FormulaScreen)

    def chat(self) -> None:
        from grpolab.tui.chat.screen import ChatScreen

        self._open(ChatScreen)

    def kl_bench(self) -> None:
        from grpolab.tui.kl_bench.screen import KlBenchScreen

        self._open(KlBenchScreen)

    def curves(self) -> None:
        from grpolab.tui.curves.screen import CurvesScreen

        self._open(CurvesScreen, CURVES_OF_PANE.get(self.context.current, ()))

    def compare(self) -> None:
        """All lanes side by side."""
        from grpolab.tui.compare.screen import CompareScreen

        if len(self.context.state.lanes) > 1:
            self.lab.app.push_screen(CompareScreen(self.context))
        else:
            key = self.context.keymap.shown("fork")
            self.context.say(f"this run has one lane; {key} forks a second" if self.context.commands
                             else "this run has one lane")  # fmt: skip
            self.lab.moved()

    def health(self) -> None:
        from grpolab.tui.health.screen import HealthScreen

        self._open(HealthScreen)

    def memory(self) -> None:
        from grpolab.tui.memory.screen import MemoryScreen

        self._open(MemoryScreen)

    def credit_trace(self) -> None:
        from grpolab.tui.credit_trace.screen import TraceScreen

        self._open(TraceScreen)

    def slow_motion(self) -> None:
        from grpolab.tui.slow_motion.screen import SlowScreen

        self._open(SlowScreen)

    def timeline(self, kind: str = "") -> None:
        """`kind`: the entries to begin with, such as `checkpoint`."""
        from grpolab.tui.timeline.screen import TimeScreen

        self._open(TimeScreen, kind)

    def search(self) -> None:
        from grpolab.tui.search.screen import AnswersScreen

        self._open(AnswersScreen, True)

    def group(self) -> None:
        from grpolab.tui.group.screen import GroupScreen

        if (group := self.selected_group()) is not None:
            self.lab.app.push_screen(GroupScreen(self.context, group))

    def reader(self) -> None:
        from grpolab.tui.group.screen import Reader

        if (group := self.selected_group()) is not None:
            self.lab.app.push_screen(Reader(self.context, group))

    def copy_answer(self) -> None:
        """Copy the selected answer to the clipboard."""
        from grpolab.tui.group.model import copy_answer

        if (group := self.selected_group()) is not None:
            copy_answer(self.lab.app, self.context, group)
            self.lab.moved()

    def save_answer(self) -> None:
        """Save the selected answer to a file."""
        from grpolab.tui.group.model import save_answer

        if (group := self.selected_group()) is not None:
            save_answer(self.context, group)
            self.lab.moved()

    def tour(self) -> None:
        from grpolab.tui.tour.screen import Tour

        self.lab.app.push_screen(Tour(self.context))

    def glossary(self) -> None:
        from grpolab.tui.glossary.screen import Glossary

        self.lab.app.push_screen(Glossary(self.context))

    def selected_group(self) -> Group | None:
        """The selected prompt's group and the selected answer; None, with a notice, where there is
        no rollout yet."""
        from grpolab.tui.group.model import Group

        context = self.context
        rollout = context.view.pictured(context.state)
        if rollout is None or not rollout.prompts or not rollout.group_size:
            context.say("there is no rollout yet", "warn")
            self.lab.refused()
            return None
        prompt, answer = divmod(context.view.row(rollout), rollout.group_size)
        return Group(context.view.lane, rollout, prompt, answer)

    def lane_known(self) -> bool:
        """Whether there is a lane to show; a notice where there is none yet."""
        if self.context.view.lane_state(self.context.state) is not None:
            return True
        self.context.say("there is no lane yet", "warn")
        self.lab.refused()
        return False

    def _open(self, screen: Callable[..., Screen[None]], *args: object) -> None:
        if self.lane_known():
            self.lab.app.push_screen(screen(self.context, *args))
