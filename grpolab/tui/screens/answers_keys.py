"""What the keys of the search do: the list, the answer, and the filter that is typed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from textual.widgets import Input

from grpolab.search import ORDERS, Found
from grpolab.tui import keeping
from grpolab.tui.finding import Finding, cycle
from grpolab.tui.group import Group
from grpolab.tui.screens.sheet import Part, Sheet

PAUSE = 0.25
"""Seconds after the last key before a search begins."""

HINTS = {
    "text": "words that an answer contains; ↵ done",
    "reward": "1, 0.5..1, >=1, <0; ↵ done",
    "steps": "100-200, 300.., <50; ↵ done",
}


class AnswersKeys(Sheet):
    """These actions, apart from the search that they steer."""

    finding: Finding
    rows: list[Found]
    entry: Input
    editing: str
    _typing = 0  # how many changes were typed
    _searched = 0  # of which the last is searched for

    if TYPE_CHECKING:

        @property
        def found(self) -> Found | None: ...
        def start(self) -> None: ...
        def preview(self) -> None: ...
        def group_here(self) -> Group | None: ...
        def reopened(self, desk: Any) -> Any: ...

    # the list

    def _go(self, at: int) -> None:
        if self.rows:
            self.finding.at = max(0, min(len(self.rows) - 1, at))
            self.parts[2].top = 0
            self.preview()
        self.again()

    def scrolled(self) -> Part[Any] | None:
        return self.parts[2]

    def action_row_next(self) -> None:
        self._go(self.finding.at + 1)

    def action_row_previous(self) -> None:
        self._go(self.finding.at - 1)

    def action_answers_jump(self) -> None:
        self._go(self.finding.at + 10)

    def action_answers_back(self) -> None:
        self._go(self.finding.at - 10)

    def action_answers_first(self) -> None:
        self._go(0)

    def action_answers_last(self) -> None:
        self._go(len(self.rows) - 1)

    def action_answers_go(self) -> None:
        found = self.found
        if found is None:
            self._nothing()
        else:
            prompt, answer = found.place
            self.lab.visit(
                found.lane, found.step, prompt, answer, pane="rollouts", name="the search",
                screens=(self.reopened,),
            )  # fmt: skip

    def _chosen(self) -> Group | None:
        """The group of the answer that is chosen; without one, what to do is said."""
        if self.found is None:
            self._nothing()
        return self.group_here()

    def _nothing(self) -> None:
        self.desk.say(self.nothing(), "warn")
        self.again()

    def nothing(self) -> str:
        """Why there is no answer to choose, and what leads to one."""
        f = self.finding
        if f.running:
            return "nothing is found yet: wait, or change the filter"
        if f.problem:
            return f"nothing was searched: {self._key('answers_clear')} clears the filter"
        if f.narrow:
            return f"no answer is like that: {self._key('answers_clear')} clears the filter"
        return f"no answer is graded yet: {self._key('answers_again')} searches again"

    def _key(self, action: str) -> str:
        return self.desk.keymap.shown(next(a for a in self.actions if a.name == action))

    def action_read(self) -> None:
        group = self._chosen()
        if group is not None:
            from grpolab.tui.screens.reader import Reader

            self.app.push_screen(Reader(self.desk, group, above=(self.reopened,)))

    def action_group(self) -> None:
        group = self._chosen()
        if group is not None:
            from grpolab.tui.screens.group import GroupScreen

            self.app.push_screen(GroupScreen(self.desk, group, above=(self.reopened,)))

    def action_answer_copy(self) -> None:
        group = self._chosen()
        if group is not None:
            keeping.copy(self.app, self.desk, group)
            self.again()

    def action_answer_save(self) -> None:
        group = self._chosen()
        if group is not None:
            keeping.save(self.desk, group)
            self.again()

    def action_answers_again(self) -> None:
        self.start()

    # the filter

    def action_answers_text(self) -> None:
        self._edit("text")

    def action_answers_reward(self) -> None:
        self._edit("reward")

    def action_answers_steps(self) -> None:
        self._edit("steps")

    def action_answers_regex(self) -> None:
        self.finding.regex = not self.finding.regex
        self.start()

    def action_answers_verdict(self) -> None:
        self._cycle("verdict", ["any", "right", "wrong"])

    def action_answers_ended(self) -> None:
        self._cycle("ended", ["any", "finished", "cut"])

    def action_answers_order(self) -> None:
        self._cycle("order", list(ORDERS))

    def action_answers_lane(self) -> None:
        self._cycle("lane", ["any", *self.desk.state.lanes])

    def action_answers_level(self) -> None:
        levels = set(self.finding.levels)
        for lane in self.desk.state.lanes.values():
            for rollout in lane.rollouts.values():
                levels.update(x for x in rollout.difficulty if x)
        self._cycle("level", ["any", *sorted(levels)])

    def action_answers_clear(self) -> None:
        fresh = Finding(order=self.finding.order, levels=self.finding.levels)
        self.finding = self.desk.finding = fresh
        self.start()

    def _cycle(self, name: str, choices: list[str]) -> None:
        setattr(self.finding, name, cycle(getattr(self.finding, name), choices))
        self.start()

    def _edit(self, name: str) -> None:
        """Type a field of the filter."""
        self.editing = name
        self.entry.placeholder = f"{name}: {HINTS[name]}"
        with self.entry.prevent(Input.Changed):
            self.entry.value = str(getattr(self.finding, name))
        self.entry.display = True
        self.again()
        self.entry.focus()

    def _typed(self) -> None:
        """The field is done."""
        self.editing, self.entry.display = "", False
        self.set_focus(None)
        self.again()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.editing and getattr(self.finding, self.editing) != event.value:
            setattr(self.finding, self.editing, event.value)
            self._typing += 1
            self.set_timer(PAUSE, partial(self._rested, self._typing))

    def _rested(self, typing: int) -> None:
        if typing == self._typing != self._searched and self.is_mounted:
            self._searched = typing
            self.start()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        waiting = self._typing != self._searched
        self._typed()
        if waiting:
            self._rested(self._typing)

    def action_close(self) -> None:
        if self.editing:
            self._typed()
        else:
            super().action_close()

    def clicked(self, what: str, value: Any) -> None:
        if what != "found":
            return
        if value == self.finding.at:
            self.action_answers_go()
        else:
            self._go(int(value))
