"""The screens over one group: all answers side by side, and one answer to read."""

from __future__ import annotations

from typing import Any

from grpolab.record import events as ev
from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group, copy_answer, save_answer
from grpolab.tui.group.view import GroupCards, ReaderFacts, ReaderText
from grpolab.tui.selection import Opens
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, Overlay, bindings

_OF_A_STEP = frozenset({"rollout", "sampled", "graded", "tokens"})


class OverGroup(Overlay):
    """Moving through a group, and copying or saving the selected answer."""

    def __init__(self, context: AppContext, group: Group, above: tuple[Opens, ...] = ()) -> None:
        super().__init__(context)
        self.group = group
        self.above = above  # the screens it was opened from, reopened on the way back

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
        copy_answer(self.app, self.context, self.group)
        self.again()

    def action_answer_save(self) -> None:
        save_answer(self.context, self.group)
        self.again()


class GroupScreen(OverGroup):
    BINDINGS = bindings("group")
    key = "group"
    heading = "Group"
    mouse = "click an answer to select it, once more to read it; a key below; the wheel scrolls"
    explains = (
        "All answers to one prompt, side by side.\n"
        "● right   ○ wrong   ✂ cut at the token limit   ◌ still being sampled\n"
        "reward and, below it, the parts it is the sum of; ▲ ▼ advantage, how much better or "
        "worse than expected the answer did; tok, length in tokens.\n"
        "Underlined: the parsed answer, which the grader compared with the right one.\n"
        "Order: as sampled, or by reward, advantage or length. Differences: the beginning that an "
        "answer shares with the selected one is dimmed, so that you see where they diverge.\n"
        "⋯ more text: page down scrolls all answers together.\n"
        "The screen stays at the step it was opened from; training continues."
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
        """Scroll the texts of all answers by the same number of rows."""
        width = max(8, self.cards.size.width // max(1, self._across()) - 4)
        longest = max((len(self.group.rollout.text[i]) for i in self.group.rows), default=0)
        most = min(longest, longest // width + 200)
        self.group.scrolled = max(0, min(most, self.group.scrolled + by))
        self.again()

    def action_group_read(self) -> None:
        if self.group.rollout.group_size:
            self.app.push_screen(
                Reader(self.context, self.group, above=(*self.above, self.reopened))
            )

    def reopened(self, context: AppContext) -> GroupScreen:
        """A new screen on the same selection."""
        return GroupScreen(context, self.group, self.above)

    def clicked(self, what: str, value: Any) -> None:
        if what != "answer":
            return
        if self.group.answer == value:
            self.action_group_read()
        else:
            self.group.answer, self.group.top = int(value), 0
            self.again()


class Reader(OverGroup):
    BINDINGS = bindings("reader")
    key = "reader"
    heading = "Answer"
    mouse = "the wheel scrolls; click another answer, a key below"
    explains = (
        "One answer, exactly as it was graded.\n"
        "Exact string: nothing is left out; invisible characters are shown as pictures: ⏎ a line "
        "break, ␉ a tab, ␛ and similar other control characters, ⟨202E⟩ a character without a "
        "picture, by its code point.\n"
        "▐ and underlined: the parsed answer, which the grader compared with the right one.\n"
        "Rendered: the same as Markdown, LaTeX formulas as readable characters; ⟦ ⟧ is \\boxed. "
        "Links do nothing and HTML stays text.\n"
        "advantage: how much better ▲ or worse ▼ than expected the answer did; reward: the sum "
        "of its parts."
    )

    def __init__(self, context: AppContext, group: Group, above: tuple[Opens, ...] = ()) -> None:
        super().__init__(context, group, above)
        self.part = "text"
        self.body = ReaderText(self, id="text")
        self.facts = ReaderFacts(self, id="facts")
        self.parts = (self.body, self.facts)

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        if width >= 110:
            right = min(52, width // 3)
            return {
                "text": Rect(0, 0, width - right, height),
                "facts": Rect(width - right, 0, right, height),
            }
        needed = len(self.facts.content(max(1, width - 4), 9)) + 2
        low = min(needed, max(7, height * 2 // 5))
        return {"facts": Rect(0, 0, width, low), "text": Rect(0, low, width, height - low)}

    def scrolled(self) -> Box[Any] | None:
        return self.body

    def action_reader_down(self) -> None:
        self.body.scroll(1)

    def action_reader_up(self) -> None:
        self.body.scroll(-1)

    def action_reader_first(self) -> None:
        self.body.scroll(-(10**9))

    def action_reader_last(self) -> None:
        self.body.scroll(10**9)

    def action_reader_next(self) -> None:
        self._move(1)

    def action_reader_previous(self) -> None:
        self._move(-1)

    def action_reader_render(self) -> None:
        self.group.rendered = not self.group.rendered
        self.group.top = 0
        self.again()

    def action_group(self) -> None:
        """Its group: back to that screen, or open it if the reader was opened from elsewhere."""
        if any(isinstance(screen, GroupScreen) for screen in self.app.screen_stack):
            self.dismiss(None)
        else:
            self.app.push_screen(GroupScreen(self.context, self.group))

    def action_reader_tokens(self) -> None:
        g = self.group
        self.lab.visit(
            g.lane, g.rollout.step, g.prompt, g.answer, pane="tokens", zoom=True,
            rollout=g.rollout, name="the answer", screens=(*self.above, self.reopened),
        )  # fmt: skip

    def reopened(self, context: AppContext) -> Reader:
        return Reader(context, self.group, self.above)

    def clicked(self, what: str, value: Any) -> None:
        if what == "answer":
            self.group.answer, self.group.top = int(value), 0
            self.again()
