"""Change one setting of the algorithm in force; what is typed is checked before it is sent."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.widgets import Input

from grpolab.tui import cards
from grpolab.tui.cards import Setting, word
from grpolab.tui.desk import Desk
from grpolab.tui.screens.chooser import Chooser
from grpolab.tui.screens.dialog import Card
from grpolab.tui.text import Line, clip, visible, wrap

ALSO = (
    Setting("train.learning_rate", None, "of the policy adapter; none: the algorithm's own",
            "number > 0 or none", False),
    Setting("train.updates_per_rollout", 2, "μ: passes over each rollout", "whole number ≥ 1",
            False),
    Setting("rollout.temperature", 1.0, "of the sampling distribution", "number > 0", False),
)  # fmt: skip
"""Settings of the run that are worth changing while it learns."""


class SettingDialog(Chooser[tuple[str, Any]]):
    """Gives (key, value), or None."""

    AUTO_FOCUS = ""  # not the field: it would swallow what is typed into the filter

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        lane = desk.view.lane_state(desk.state)
        self.algorithm = lane.algorithm if lane else ""
        card = cards.load().get(self.algorithm)
        own = card.settings if card else ()
        # what only some algorithms have comes first, then what the run has, then what all have
        found = [*(s for s in own if not s.shared), *ALSO, *(s for s in own if s.shared)]
        self.settings = {s.name: s for s in found}
        self.values = {s.name: s.default for s in found} | dict(lane.settings if lane else {})
        scenario = desk.state.run.scenario if desk.state.run else {}
        for setting in ALSO:
            section, _, name = setting.name.partition(".")
            there = scenario.get(section)
            if isinstance(there, dict):
                self.values[setting.name] = there.get(name)
        changes = lane.changes if lane else []
        self.values |= {c.key: c.after for c in changes if c.key in self.settings and "." in c.key}
        self.problem = ""

    def compose(self) -> ComposeResult:
        yield Card(self)
        entry = Input(id="value", compact=True)
        entry.display = False
        entry.cursor_blink = not (self.desk.reduced_motion or self.desk.ssh)
        yield entry

    def title_text(self) -> str:
        return f"Settings of {self.algorithm.upper()} and of the run"

    def keys_text(self) -> str:
        return "↵ send · esc back" if self.editing else "↑↓ choose · ↵ change · esc close"

    @property
    def entry_field(self) -> Input:
        return self.query_one("#value", Input)

    @property
    def editing(self) -> bool:
        return self.is_mounted and bool(self.entry_field.display)

    def names(self) -> list[str]:
        return list(self.settings)

    def typing(self, char: str) -> bool:
        return not self.editing and super().typing(char)

    def entry(self, name: str, here: bool, width: int) -> Line:
        p, setting = self.desk.palette, self.settings[name]
        value = self.values.get(name)
        differs = value != setting.default and setting not in ALSO
        line = Line("▸" if here else " ", p.style("accent"))
        line.add("✎" if differs else " ", p.style("warn"))
        line.cell(name, 26, p.style("text", bold=here))
        line.cell(visible(word(value)), 22, p.style("accent" if here else "text"))
        return line.add(clip(setting.description, max(0, width - line.width)), p.style("dim"))

    def about(self, name: str, width: int) -> list[Line]:
        p, setting = self.desk.palette, self.settings[name]
        out = [Line()]
        out += [Line(row, p.style("text")) for row in wrap(setting.description, width)]
        takes = f"takes {setting.kind}"
        if setting not in ALSO:
            takes += f"; by default {word(setting.default)}"
        out += [Line(row, p.style("dim")) for row in wrap(takes, width)]
        out += [Line(row, p.style("bad")) for row in wrap(self.problem, width) if row]
        return out

    def chosen(self) -> None:
        self.problem = ""

    def action_move(self, by: int) -> None:
        if not self.editing:
            super().action_move(by)

    def action_choose(self) -> None:
        if self.name_here is None or self.editing:
            return
        self.entry_field.display = True
        self.entry_field.value = word(self.values.get(self.name_here))
        self.entry_field.focus()
        self.again()

    def action_close(self) -> None:
        if self.editing:
            self.entry_field.display = False
            self.problem = ""
            self.set_focus(None)
            self.again()
        else:
            super().action_close()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        key, text = self.name_here, event.value.strip()
        if key is None:
            return
        try:
            if "." in key:
                value: Any = cards.parse_run_setting(key, text)
            else:
                beside = {k: v for k, v in self.values.items() if "." not in k}
                value = cards.parse_setting(self.algorithm, key, text, beside)
        except ValueError as error:
            self.problem = f"{key}: {visible(str(error))}"
            self.again()
        else:
            self.dismiss((key, value))

    def clicked(self, what: str, value: Any) -> None:
        if not self.editing:
            super().clicked(what, value)
