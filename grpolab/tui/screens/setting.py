"""Change one setting of the algorithm in force; what is typed is checked before it is sent."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from grpolab.tui import cards
from grpolab.tui.desk import Desk
from grpolab.tui.numbers import number
from grpolab.tui.panes.base import Canvas
from grpolab.tui.screens.dialog import Card, Dialog
from grpolab.tui.text import Line, clip, visible, wrap

ALSO = {
    "train.learning_rate": "of the policy adapter",
    "train.updates_per_rollout": "μ: passes over each rollout",
    "rollout.temperature": "of the sampling distribution",
}
"""Settings of the run that are worth changing while it learns."""


class SettingDialog(Dialog[tuple[str, Any]]):
    """Gives (key, value), or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "edit", "edit", show=False)]

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        lane = desk.view.lane_state(desk.state)
        self.algorithm = lane.algorithm if lane else ""
        card = cards.load().get(self.algorithm)
        values = dict(lane.settings) if lane else {}
        self.settings = (
            [(s.name, values.get(s.name, s.default), s.description) for s in card.settings]
            if card
            else []
        )
        scenario = desk.state.run.scenario if desk.state.run else {}
        changed = {c.key: c.after for c in lane.changes} if lane else {}
        for key, description in ALSO.items():
            section, _, name = key.partition(".")
            there = scenario.get(section)
            value = changed.get(key, there.get(name) if isinstance(there, dict) else None)
            self.settings.append((key, value, description))
        self.at = 0
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        entry = Input(id="value", compact=True)
        entry.display = False
        yield entry

    def title_text(self) -> str:
        return f"Settings of {self.algorithm.upper()} and of the run"

    def keys_text(self) -> str:
        return "↵ send · esc back" if self.editing else "↑↓ choose · ↵ change · esc close"

    @property
    def entry(self) -> Input:
        return self.query_one("#value", Input)

    @property
    def editing(self) -> bool:
        return self.is_mounted and bool(self.entry.display)

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        out = []
        for i, (key, value, description) in enumerate(self.settings):
            here = i == self.at
            line = Line("▸ " if here else "  ", p.style("accent"))
            line.cell(key, 26, p.style("text", bold=here)).cell(
                number(value), 18, p.style("accent" if here else "text")
            )
            line.add(clip(description, max(0, width - line.width)), p.style("dim"))
            line.to(width).whole(("choose", i), width)
            out.append(line.on(p.style("", "raised")) if here else line)
        if self.problem:
            out += [Line(), *(Line(row, p.style("bad")) for row in wrap(self.problem, width))]
        return out

    def action_down(self) -> None:
        self._go(self.at + 1)

    def action_up(self) -> None:
        self._go(self.at - 1)

    def _go(self, at: int) -> None:
        if not self.editing:
            self.at, self.problem = at % len(self.settings), ""
            self.again()

    def action_edit(self) -> None:
        value = self.settings[self.at][1]
        self.entry.display = True
        self.entry.value = "none" if value is None else str(value)
        self.entry.focus()
        self.again()

    def action_close(self) -> None:
        if self.editing:
            self.entry.display = False
            self.set_focus(None)
            self.again()
        else:
            self.dismiss(None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        key = self.settings[self.at][0]
        text = event.value.strip()
        try:
            if key in ALSO:
                value: Any = int(text) if key.endswith("updates_per_rollout") else float(text)
                if not value > 0:
                    raise ValueError("it must be above 0")
            else:
                value = cards.parse_setting(self.algorithm, key, text)
        except ValueError as error:
            self.problem = f"{key}: {visible(str(error))}"
            self.again()
        else:
            self.dismiss((key, value))

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        what, value = message.hit
        if what == "choose" and isinstance(value, int):
            if value == self.at:
                self.action_edit()
            else:
                self._go(value)
