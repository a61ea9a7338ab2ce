"""One answer: the exact string that was graded, plain or rendered. Enter goes to its tokens."""

from __future__ import annotations

from typing import Any

from grpolab.tui.context import AppContext
from grpolab.tui.group.model import Group
from grpolab.tui.group.screen import OverGroup
from grpolab.tui.group.view import ReaderFacts, ReaderText
from grpolab.tui.selection import Opens
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Box, bindings


class Reader(OverGroup):
    BINDINGS = bindings("reader")
    key = "reader"
    heading = "Answer"
    mouse = "the wheel scrolls; click another answer, a key below"
    explains = (
        "One answer, as it was graded.\n"
        "The exact string: nothing is left out and nothing added but the pictures of characters "
        "that cannot be seen. ⏎ a line break, ␉ a tab, ␛ and its like other control characters, "
        "⟨202E⟩ a character without a picture, by its code point.\n"
        "▐ and underlined: the part that the grader took for the answer.\n"
        "Rendered: the same as Markdown, with formulas in LaTeX as readable characters; "
        "⟦ ⟧ is \\boxed. Links lead nowhere and HTML stays text.\n"
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
        """The group that it is in: back to it, or on to it where it was not come from."""
        from grpolab.tui.group.screen import GroupScreen

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
