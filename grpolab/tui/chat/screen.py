"""The chat screen: your own question, answered by the current and the initial policy."""

from __future__ import annotations

import time
from typing import Any

from textual.app import ComposeResult
from textual.events import Key
from textual.widgets import Input

from grpolab.record import events as ev
from grpolab.tui.chat.view import Talk
from grpolab.tui.context import AppContext
from grpolab.tui.lab.header import Header
from grpolab.tui.widgets.canvas import Body
from grpolab.tui.widgets.layout import Rect
from grpolab.tui.widgets.overlay import Keys, Overlay, bindings

MOST = 16
"""Most samples per policy."""

NO_ANSWER = {
    "replay": "replay: only the recorded questions can be shown",
    "watch": "watching: the process that runs the training can ask, answers appear here",
    "live": "the engine has ended: no more questions",
}


class Question(Input):
    """An input line that is cleared on enter, so that typing ahead starts the next question."""

    async def _on_key(self, event: Key) -> None:
        if event.key == "enter":  # not a binding, which would run after later keys
            event.stop()
            event.prevent_default()
            await self.action_submit()
        else:
            await super()._on_key(event)

    async def action_submit(self) -> None:
        await super().action_submit()
        self.value = ""


class ChatScreen(Overlay):
    BINDINGS = bindings("chat")
    AUTO_FOCUS = ""  # a closing dialog does not move the focus
    key = "chat"
    heading = "Chat"
    mouse = "click the line below to type, a key, the example"
    explains = (
        "Ask the policy your own question while it trains. It answers after the current step: once "
        "greedily, and with as many samples as you like at the rollout's temperature.\n"
        "Next to it are the answers of the initial policy and of the reference, if that is another "
        "one. All use the same random seeds, so where the policies agree, the answers do.\n"
        "A question in the form of the task's prompts is graded: ✓ right, ✗ wrong, with the "
        "reward. Nothing is trained on it, and training continues as if it had not been asked.\n"
        "↵ asks, ↑ ↓ recall earlier questions, esc leaves the line for the keys below."
    )

    def __init__(self, context: AppContext) -> None:
        super().__init__(context)
        self.lane = context.view.lane
        self.part = "talk"
        self.parts = (Talk(self, id="talk"),)
        self.samples, self.greedy = 2, True
        self.waiting: list[str] = []  # questions not answered yet, in order
        self.problem = ""
        self.follow = True  # scroll to the newest answer
        self.turn = 0
        self._asked: list[str] = list(dict.fromkeys(c.asked for c in self.chats))
        self._at = len(self._asked)

    @property
    def chats(self) -> list[ev.Chatted]:
        lane = self.context.state.lanes.get(self.lane)
        return lane.chats if lane else []

    @property
    def example(self) -> str:
        """A prompt of the task: the one in view."""
        view = self.context.view
        rollout = view.pictured(self.context.state)
        if rollout is None or not rollout.prompts:
            return ""
        return rollout.prompts[min(view.prompt, len(rollout.prompts) - 1)]

    @property
    def turn_of_spinner(self) -> int:
        return int(time.monotonic() * 8)

    def compose(self) -> ComposeResult:
        body = Body(*self.parts)
        self.place(body, self.app.size.width, self.app.size.height)
        yield from (Header(self.context), body, Question(id="question", compact=True), Keys(self))

    @property
    def field(self) -> Input:
        return self.query_one("#question", Input)

    def opened(self) -> None:
        if self.context.commands:
            self.field.placeholder = f"your question, for example {self.example}"
            self.field.focus()
        else:
            self.field.placeholder = NO_ANSWER[self.context.mode]
            self.field.disabled = True

    def boxes(self, width: int, height: int) -> dict[str, Rect]:
        return {"talk": Rect(0, 0, width, max(0, height - 1))}

    def news(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.Chatted) and event.lane == self.lane:
                self._over(event.asked)
                self.follow = True
                self.again()
            elif isinstance(event, ev.Refused) and event.command.get("do") == "chat":
                self._over(str(event.command.get("text", "")))
                self.problem = event.reason
                self.again()
            elif isinstance(event, ev.Resumed | ev.Ended):
                self.again()
        if self.waiting and not self.context.commands:
            self.waiting.clear()
            self.problem = "the engine ended before it could answer"
            self.again()
        if self.waiting:
            self.touch(self.parts[0])

    def _over(self, question: str) -> None:
        """A question was answered or refused; the engine takes them in order."""
        if question in self.waiting:
            self.waiting.remove(question)
        elif self.waiting:
            self.waiting.pop(0)

    def ask(self, line: str) -> None:
        """Have the engine answer the question after its current step."""
        text = line.strip()
        self.problem, self.follow = "", True
        if not self.samples and not self.greedy:
            self.problem = "no answer selected: + adds samples, g the greedy answer"
        else:
            self.turn += 1
            command = {"do": "chat", "text": text, "lane": self.lane, "samples": self.samples}
            command |= {"greedy": self.greedy, "turn": len(self.chats) + self.turn}
            if self.lab.send(command):
                self.waiting.append(text)
                self._asked = [*(a for a in self._asked if a != text), text]
                self._at = len(self._asked)
                line = ""
        self.field.value = line + self.field.value  # what could not be asked stays to be edited
        self.again()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if event.value.strip():
            self.ask(event.value)

    def _recall(self, by: int) -> None:
        """Put an earlier or later question into the line; after the last, an empty line."""
        self._at = max(0, min(len(self._asked), self._at + by))
        self.field.value = self._asked[self._at] if self._at < len(self._asked) else ""
        self.field.cursor_position = len(self.field.value)

    def action_row_previous(self) -> None:
        if self.field.has_focus:
            self._recall(-1)
        else:
            self._scroll(-1)

    def action_row_next(self) -> None:
        if self.field.has_focus:
            self._recall(1)
        else:
            self._scroll(1)

    def _scroll(self, by: int) -> None:
        self.follow = False
        self.parts[0].scroll(by)

    def action_page_down(self) -> None:
        self._scroll(max(1, self.parts[0].size.height - 4))

    def action_page_up(self) -> None:
        self._scroll(-max(1, self.parts[0].size.height - 4))

    def action_chat_type(self) -> None:
        if self.field.disabled:
            self.context.say(NO_ANSWER[self.context.mode], "warn")
            self.again()
        else:
            self.field.focus()

    def action_chat_example(self) -> None:
        """Put the prompt in view into the line."""
        if not self.field.disabled:
            self.field.value = self.example
            self.field.cursor_position = len(self.field.value)
            self.field.focus()

    def action_chat_more(self) -> None:
        self.samples = min(MOST, self.samples + 1)
        self.again()

    def action_chat_fewer(self) -> None:
        self.samples = max(0, self.samples - 1)
        self.again()

    def action_chat_greedy(self) -> None:
        self.greedy = not self.greedy
        self.again()

    def action_lane(self) -> None:
        names = list(self.context.state.lanes)
        if len(names) < 2:
            self.context.say("this run has one lane")
        elif not self.waiting:
            self.lane = names[(names.index(self.lane) + 1) % len(names)]
            self.context.view.lane, self.context.view.held = self.lane, None
            self.lab.mark({"lane", "select"})
        self.again()

    def action_close(self) -> None:
        """Leave the input line first, then the screen."""
        if self.field.has_focus:
            self.set_focus(None)
            self.again()
        else:
            self.dismiss(None)

    def clicked(self, what: str, value: Any) -> None:
        if what == "example":
            self.action_chat_example()
