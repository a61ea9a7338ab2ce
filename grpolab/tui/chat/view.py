"""The box of the chat screen: questions, each with the policies' answers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.record.events import ChatAnswer, Chatted
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import SPINNER
from grpolab.tui.widgets.text import Line, beside, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.chat.screen import ChatScreen

TITLES = {"now": "current", "reference": "reference", "start": "initial"}
HINTS = {
    "now": "the policy of this lane",
    "reference": "what the KL is measured against",
    "start": "the policy as it was loaded",
}
NONE_YET = (
    "Ask the policy your own question. Its answer is shown next to that of the initial policy, and "
    "of the reference if that is another one."
)
FORM = "Questions in the form of the task's prompts are graded. For example:"


class Talk(Box["ChatScreen"]):
    title = "Chat"

    def info(self) -> tuple[str, str]:
        overlay: ChatScreen = self.overlay
        greedy = "greedy + " if overlay.greedy else ""
        return f"{greedy}{overlay.samples} sampled per policy", ""

    def content(self, width: int, height: int) -> list[Line]:
        overlay: ChatScreen = self.overlay
        p = self.context.palette
        out: list[Line] = []
        for chat in overlay.chats:
            out += [*self._question(chat, width), *self._answers(chat, width), Line()]
        if not out:
            out += [Line(row, p.style("text")) for row in wrap(NONE_YET, width)]
            out += [Line(), *(Line(row, p.style("dim")) for row in wrap(FORM, width))]
            example = visible(overlay.example)
            out.append(Line(f"  {example}", p.style("accent")).whole(("example", ""), width))
            out.append(Line())
        if overlay.waiting:
            sign = SPINNER[overlay.turn_of_spinner % len(SPINNER)]
            for asked in map(visible, overlay.waiting):
                out += [Line(row, p.style("accent")) for row in wrap(f"{sign} {asked}", width)]
            told = "requested: answered after this step"
            out.append(Line(f"  {told}", p.style("dim")))
        if overlay.problem:
            out += [Line(r, p.style("bad")) for r in wrap(f"✗ {visible(overlay.problem)}", width)]
        if overlay.follow:
            self.top = max(0, len(out) - height)
        return out

    def _question(self, chat: Chatted, width: int) -> list[Line]:
        p = self.context.palette
        rows = wrap(f"❯ {visible(chat.asked)}", width)
        out = [Line(row, p.style("text", bold=True)) for row in rows]
        told = f"step {chat.step} · {chat.algorithm.upper()} · temperature {chat.temperature:g}"
        if chat.note:
            told += f" · {visible(chat.note)}"
        return out + [Line(f"  {row}", p.style("dim")) for row in wrap(told, max(8, width - 2))]

    def _answers(self, chat: Chatted, width: int) -> list[Line]:
        names = list(dict.fromkeys(a.policy for a in chat.answers))
        of = {n: [a for a in chat.answers if a.policy == n] for n in names}
        if width < 34 * len(names):  # one under the other
            return [line for name in names for line in self._column(name, of[name], width)]
        wide = (width - 2 * (len(names) - 1)) // max(1, len(names))
        out: list[Line] = []
        blocks = [self._heading(name, of[name], wide) for name in names]
        out += _side_by_side(blocks, wide)
        for i in range(max(len(found) for found in of.values())):
            blocks = [
                self._answer(found[i], wide) if i < len(found) else [] for found in of.values()
            ]
            out += _side_by_side(blocks, wide)
        return out

    def _column(self, name: str, answers: list[ChatAnswer], width: int) -> list[Line]:
        out = self._heading(name, answers, width)
        for answer in answers:
            out += self._answer(answer, width)
        return out

    def _heading(self, name: str, answers: list[ChatAnswer], width: int) -> list[Line]:
        p = self.context.palette
        line = Line(f"  {TITLES.get(name, visible(name))}", p.style("accent", bold=True))
        graded = [a for a in answers if a.correct is not None]
        if graded:
            right = sum(bool(a.correct) for a in graded)
            mean = sum(a.reward or 0.0 for a in graded) / len(graded)
            line.add(f"  {right} of {len(graded)} right, reward {mean:.2f}", p.style("dim"))
        elif width >= 60:
            line.add(f"  {HINTS.get(name, '')}", p.style("faint"))
        return [line]

    def _answer(self, answer: ChatAnswer, width: int) -> list[Line]:
        p = self.context.palette
        kind = "greedy" if answer.greedy else "sampled"
        sign, colour = {True: ("✓", "good"), False: ("✗", "bad"), None: ("·", "dim")}[
            answer.correct
        ]
        told = kind if answer.reward is None else f"{kind} {answer.reward:.2f}"
        if answer.detail and answer.detail != "right":
            told += f", {visible(answer.detail)}"
        if not answer.finished:
            told += f", cut at {answer.tokens} tokens"
        text = visible(answer.text) or "(empty)"
        rows = [Line(f"    {row}", p.style("text")) for row in wrap(text, max(8, width - 4))]
        head = wrap(told, max(8, width - 4))
        first = Line("  ").add(f"{sign} ", p.style(colour, bold=True)).add(head[0], p.style("dim"))
        return [first, *(Line(f"    {row}", p.style("dim")) for row in head[1:]), *rows]


def _side_by_side(blocks: list[list[Line]], wide: int) -> list[Line]:
    out = blocks[0] if blocks else []
    for i, block in enumerate(blocks[1:], 1):
        out = beside(out, block, i * (wide + 2))
    return out
