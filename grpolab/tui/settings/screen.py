"""All settings of the lane in view and of the run, section by section: current value, value at the
start, default. A typed value is checked before it is sent, and applies from the next step on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.widgets import Input

from grpolab.record import events as ev
from grpolab.tui.algorithm_cards import word
from grpolab.tui.context import AppContext
from grpolab.tui.lab.rollouts import window
from grpolab.tui.settings import model as settings_model
from grpolab.tui.settings.model import Row
from grpolab.tui.widgets.canvas import Canvas
from grpolab.tui.widgets.chooser import Chooser
from grpolab.tui.widgets.dialog import Card
from grpolab.tui.widgets.text import Line, clip, visible, wrap

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp
    from grpolab.tui.lab.screen import LabScreen

NAME, VALUE = 27, 18

READ_ONLY = {
    "replay": "a replay computes nothing: settings are as recorded",
    "watch": "watching only: settings can be changed where this run was started",
    "live": "the engine has ended: settings can no longer be changed",
}


class SettingDialog(Chooser[None]):
    """The settings; calls `send` with key and value of each change, and stays open."""

    AUTO_FOCUS = ""  # not the field: it would swallow what is typed into the filter

    def __init__(
        self, context: AppContext, send: Callable[[str, Any], object], typed: str = ""
    ) -> None:
        """`typed`: what the list is narrowed down to at first."""
        super().__init__(context)
        self.send, self.typed = send, typed
        self.canvases: list[Canvas] = []
        self.problem, self.told = "", ""
        self._read()

    def _read(self) -> None:
        lane = self.context.view.lane_state(self.context.state)
        self.algorithm, self.lane = (lane.algorithm, lane.name) if lane else ("", "")
        self.found = {row.name: row for row in settings_model.rows(self.context.state, lane)}

    def compose(self) -> ComposeResult:
        yield Card(self)
        entry = Input(id="value", compact=True)
        entry.display = False
        entry.cursor_blink = not (self.context.reduced_motion or self.context.ssh)
        yield entry

    @cached_property
    def lab(self) -> LabScreen:
        return cast("LabApp", self.app).lab

    def on_mount(self) -> None:
        self.lab.listeners.append(self)

    def on_unmount(self) -> None:
        self.lab.listeners = [g for g in self.lab.listeners if g is not self]

    def news(self, events: list[ev.Event]) -> None:
        for event in events:
            if isinstance(event, ev.Refused) and event.command.get("do") == "set":
                self.problem, self.told = f"refused: {event.reason}", ""
            elif isinstance(event, ev.SettingChanged):
                self.told = f"{event.key} is {word(event.after)} from the next step on"
        telling = (ev.SettingChanged, ev.Switched, ev.Refused, ev.Resumed, ev.LaneOpened)
        if any(isinstance(e, telling) for e in events):
            self._read()
            self.again()

    def title_text(self) -> str:
        lane = f" of lane {visible(self.lane)}" if len(self.context.state.lanes) > 1 else ""
        return f"Settings: {self.algorithm.upper()}{lane} and the run"

    def keys_text(self) -> str:
        if self.editing:
            return "↵ send · esc back"
        return (
            "↑↓ choose · ↵ change · esc close" if self.context.commands else "↑↓ choose · esc close"
        )

    @property
    def entry_field(self) -> Input:
        return self.query_one("#value", Input)

    @property
    def editing(self) -> bool:
        return self.is_mounted and bool(self.entry_field.display)

    def names(self) -> list[str]:
        return list(self.found)

    def section(self, name: str) -> str:
        return self.found[name].section

    def typing(self, char: str) -> bool:
        return not self.editing and super().typing(char)

    def rows(self, width: int) -> list[Line]:
        """The list under the heads of its columns, and more about the chosen row."""
        left, here = self.left, self.name_here
        more = self.about(here, width) if here is not None else []
        listed, at = self.listed(left, here, width)
        room = self.app.size.height * 9 // 10 - 6 - len(more)  # the highest that a card may be
        tall = max(self.least, room)
        out = [self._filter(len(left), width), self._heads(width)]
        out += [listed[i] for i in window(len(listed), at, tall)]
        out += [Line() for _ in range(2 + tall - len(out))]  # the card keeps its height
        return out + more

    def _heads(self, width: int) -> Line:
        faint = self.context.palette.style("faint")
        line = Line("  ").cell("setting", NAME, faint).cell("current", VALUE, faint)
        return line.cell("at the start", 14, faint).add("✎ not the default", faint)

    def entry(self, name: str, here: bool, width: int) -> Line:
        p, row = self.context.palette, self.found[name]
        line = Line("▸" if here else " ", p.style("accent"))
        mark = "·" if row.fixed else "✎" if row.value != row.setting.default else " "
        line.add(mark, p.style("faint" if row.fixed else "warn"))
        line.cell(visible(name), NAME, p.style("dim" if row.fixed else "text", bold=here))
        colour = "warn" if row.changed else "accent" if here else "text"
        line.cell(visible(word(row.value)), VALUE, p.style("dim" if row.fixed else colour))
        line.cell(f"was {visible(word(row.start))}" if row.changed else "", 14, p.style("warn"))
        about = row.fixed or row.setting.description
        return line.add(clip(about, max(0, width - line.width)), p.style("dim"))

    def about(self, name: str, width: int) -> list[Line]:
        p, row = self.context.palette, self.found[name]
        s = row.setting
        told = [("", "dim")]
        if row.fixed:
            told.append((f"{name} can only be set when a run starts: {row.fixed}.", "text"))
        else:
            told.append((s.description, "text"))
            told.append((f"{s.kind}; default {word(s.default)}", "dim"))
        for change in row.changes[-3:]:
            step = f"after step {change.step}" if change.step else "before the first step"
            was = f"{word(change.before)} → {word(change.after)}"
            told.append((visible(f"✎ {was} {step}, by {change.origin}"), "warn"))
        if not self.context.commands:
            told.append((READ_ONLY[self.context.mode], "dim"))
        told += [(visible(self.problem), "bad"), (visible(self.told), "good")]
        first, *rest = told
        rows = [(row, colour) for text, colour in rest if text for row in wrap(text, width)]
        return [Line(first[0]), *(Line(row, p.style(colour)) for row, colour in rows)]

    def chosen(self) -> None:
        self.problem = self.told = ""

    def action_move(self, by: int) -> None:
        if not self.editing:
            super().action_move(by)

    def action_erase(self) -> None:
        if not self.editing:
            super().action_erase()

    def action_choose(self) -> None:
        if self.name_here is None or self.editing:
            return
        row = self.found[self.name_here]
        self.problem = self.told = ""
        if self.context.commands and not row.fixed:
            self.entry_field.display = True
            self.entry_field.value = word(row.value)
            self.entry_field.focus()
        elif self.context.commands:
            self.problem = "this cannot change while the run is in progress"
        self.again()

    def _leave_field(self) -> None:
        self.entry_field.display = False
        self.problem = ""
        self.set_focus(None)
        self.again()

    def action_close(self) -> None:
        if self.editing:
            self._leave_field()
        else:
            super().action_close()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self.name_here is None:
            return
        row: Row = self.found[self.name_here]
        state, beside = self.context.state, list(self.found.values())
        try:
            lane = state.lanes.get(self.lane)
            value = settings_model.parsed(state, lane, row, event.value.strip(), beside)
        except ValueError as error:
            self.problem = f"{row.name}: {visible(str(error))}"
            self.again()
        else:
            self._leave_field()
            if self.send(row.name, value):
                self.told = f"{row.name} = {word(value)}: sent, applies from the next step on…"
            self.again()

    def clicked(self, what: str, value: Any) -> None:
        if not self.editing:
            super().clicked(what, value)
