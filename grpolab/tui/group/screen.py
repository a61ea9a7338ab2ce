"""The whole group side by side; Enter reads one of its answers."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.group import model as group_model
from grpolab.tui.group.model import Group
from grpolab.tui.group.view import GroupCards
from grpolab.tui.selection import Opens
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

# --- over_group ---
# What the screens over one group have in common: moving in it, and keeping one of its answers.

_OF_A_STEP = frozenset({"rollout", "sampled", "graded", "tokens"})


class OverGroup(Overlay):
    def __init__(self, context: AppContext, group: Group, above: tuple[Opens, ...] = ()) -> None:
        super().__init__(context)
        self.group = group
        self.above = above  # the screens from which it was opened, to be opened again

    def news(self, events: list[ev.Event]) -> None:
        self.group.renew(self.context.state)
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
        group_model.copy(self.app, self.context, self.group)
        self.again()

    def action_answer_save(self) -> None:
        group_model.save(self.context, self.group)
        self.again()


class GroupScreen(OverGroup):
    BINDINGS = bindings("group")
    key = "group"
    heading = "Group"
    mouse = "click an answer to select it, once more to read it; a key below; the wheel scrolls"
    explains = (
        "All answers to one prompt, side by side.\n"
        "● right   ○ wrong   ✂ cut at the token limit   ◌ still being sampled\n"
        "reward, and under it the parts that it is the sum of; ▲ ▼ the advantage, how much better "
        "or worse than expected the answer did; tok, its length in tokens.\n"
        "Underlined: what the grader took for the answer.\n"
        "The order: as sampled, or by reward, advantage or length. Differences: what an answer "
        "has in common with the selected one, from the beginning on, stands back, so that the "
        "place where they part is seen.\n"
        "⋯ there is more text: page down scrolls all answers together.\n"
        "The step stays the one from which the screen was opened; training goes on."
    )

    def __init__(self, context: AppContext, group: Group, above: tuple[Opens, ...] = ()) -> None:
        super().__init__(context, group, above)
        self.part = "cards"
        self.cards = GroupCards(self, id="cards")
        self.parts = (self.cards,)

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        return {"cards": Rect(0, 0, width, height)}

    def scrolled(self) -> Box[Any] | None:
        return None

    def _across(self) -> int:
        width, height = self.cards.size
        return self.cards.shape(max(1, width - 4), max(1, height - 4))[0]

    def action_group_next(self) -> None:
        self._move(1)

    def action_group_previous(self) -> None:
        self._move(-1)

    def action_group_down(self) -> None:
        self._move(self._across())

    def action_group_up(self) -> None:
        self._move(-self._across())

    def action_group_first(self) -> None:
        self._move(-(10**9))

    def action_group_last(self) -> None:
        self._move(10**9)

    def action_group_order(self) -> None:
        self.group.next_order()
        self.again()

    def action_group_turn(self) -> None:
        self.group.down = not self.group.down
        self.again()

    def action_group_apart(self) -> None:
        self.group.apart = not self.group.apart
        self.again()

    def action_page_down(self) -> None:
        self.scroll_texts(5)

    def action_page_up(self) -> None:
        self.scroll_texts(-5)

    def scroll_texts(self, by: int) -> None:
        """So many rows on or back, all answers of the group together."""
        width = max(8, self.cards.size.width // max(1, self._across()) - 4)
        longest = max((len(self.group.rollout.text[i]) for i in self.group.rows), default=0)
        most = min(longest, longest // width + 200)
        self.group.scrolled = max(0, min(most, self.group.scrolled + by))
        self.again()

    def action_group_read(self) -> None:
        from grpolab.tui.group.reader import Reader

        if self.group.rollout.group_size:
            self.app.push_screen(
                Reader(self.context, self.group, above=(*self.above, self.reopened))
            )

    def reopened(self, context: AppContext) -> GroupScreen:
        """The screen again, as it is now."""
        return GroupScreen(context, self.group, self.above)

    def clicked(self, what: str, value: Any) -> None:
        if what != "answer":
            return
        if self.group.answer == value:
            self.action_group_read()
        else:
            self.group.answer, self.group.top = int(value), 0
            self.again()
