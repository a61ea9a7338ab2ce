"""What the screens over one group have in common: moving in it, and keeping one of its answers."""

from __future__ import annotations

from grpolab import events as ev
from grpolab.tui import keeping
from grpolab.tui.desk import Desk
from grpolab.tui.group import Group
from grpolab.tui.screens.sheet import Sheet
from grpolab.tui.trail import Opens

_OF_A_STEP = frozenset({"rollout", "sampled", "graded", "tokens"})


class OverGroup(Sheet):
    def __init__(self, desk: Desk, group: Group, above: tuple[Opens, ...] = ()) -> None:
        super().__init__(desk)
        self.group = group
        self.above = above  # the screens from which it was opened, to be opened again

    def news(self, events: list[ev.Event]) -> None:
        self.group.renew(self.desk.state)
        step = self.group.rollout.step
        if any(e.kind in _OF_A_STEP and getattr(e, "step", None) == step for e in events):
            for part in self.parts:
                self.touch(part)

    def on_screen_resume(self) -> None:
        self.again()

    def _move(self, by: int) -> None:
        self.group.move(by)
        self.again()

    def action_prompt_next(self) -> None:
        self.group.move_prompt(1)
        self.again()

    def action_prompt_previous(self) -> None:
        self.group.move_prompt(-1)
        self.again()

    def action_answer_copy(self) -> None:
        keeping.copy(self.app, self.desk, self.group)
        self.again()

    def action_answer_save(self) -> None:
        keeping.save(self.desk, self.group)
        self.again()
