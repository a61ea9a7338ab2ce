"""What the keys and clicks of the what-if do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from grpolab.tui import cards, whatif
from grpolab.tui.cards import word
from grpolab.tui.desk import Desk
from grpolab.tui.whatif import Basis, Plan

if TYPE_CHECKING:
    from grpolab.tui.app import LabApp
    from grpolab.tui.lens import Lens
    from grpolab.tui.panes.whatif_knobs import Knob

PAGES = ("outcome", "answers", "pushes")


class WhatIfKeys:
    """The actions, apart from the screen that they act on."""

    if TYPE_CHECKING:
        desk: Desk
        app: LabApp
        lens: Lens
        basis: Basis
        plan: Plan
        at: str
        group: int
        answer: int
        token: int
        part: str
        page: str
        problem: str

        @property
        def knobs(self) -> list[Knob]: ...
        @property
        def knob(self) -> Knob: ...
        def change(self, plan: Plan) -> None: ...
        def now(self) -> Plan: ...
        def send(self, command: dict[str, Any]) -> bool: ...
        def again(self) -> None: ...
        def relayout(self) -> None: ...

    # what is changed

    def action_row_next(self) -> None:
        self._row(1)

    def action_row_previous(self) -> None:
        self._row(-1)

    def _row(self, by: int) -> None:
        names = [k.key for k in self.knobs]
        self.at = names[(names.index(self.knob.key) + by) % len(names)]
        self.again()

    def action_whatif_turn(self) -> None:
        self._turn(1)

    def action_whatif_turn_back(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        knob = self.knob
        value = whatif.turned(knob.kind, knob.value, by, knob.usual)
        if value is None:
            return
        try:
            self.take(knob, self.read(knob, word(value)))
        except ValueError as error:
            self.desk.say(f"{knob.label}: {error}", "warn")
            self.again()

    def read(self, knob: Knob, text: str) -> Any:
        """What was typed for a knob. Raises ValueError with one line."""
        if knob.section == "setting":
            beside = {k: v for k, v in self.plan.settings.items() if k != knob.key}
            return cards.parse_setting(self.plan.algorithm, knob.key, text, beside)
        if knob.section == "answers":
            most = self.basis.plan.answers
            if not text.isdecimal() or not 1 <= int(text) <= most:
                raise ValueError(f"1 to {most}: the rollout has no more answers to a prompt")
            return int(text)
        if knob.section == "weight":
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if not abs(value) < 1e6:
                raise ValueError("a number")
            return value
        known = list(cards.cards()) if knob.section == "algorithm" else self._presets()
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    def _presets(self) -> list[str]:
        return list(cards.cards()[self.plan.algorithm].presets)

    def take(self, knob: Knob, value: Any) -> None:
        plan, card = self.plan, cards.cards().get(self.plan.algorithm)
        if knob.section == "algorithm":
            plan = self._own(value) or plan.under(cards.cards()[value], "paper")
        elif knob.section == "preset" and card is not None:
            plan = plan.under(card, value)
        elif knob.section == "answers":
            plan = replace(plan, answers=value)
        elif knob.section == "weight":
            plan = replace(plan, weights=plan.weights | {knob.key.removeprefix("weight "): value})
        else:
            plan = plan.setting(knob.key, value)
        self.change(plan)

    def _own(self, name: str) -> Plan | None:
        """Back at the lane's own algorithm, its settings are those in force."""
        base = self.basis.plan
        if name != base.algorithm:
            return None
        return replace(base, answers=self.plan.answers, weights=self.plan.weights)

    def action_whatif_type(self) -> None:
        knob = self.knob
        if knob.section == "algorithm":
            from grpolab.tui.screens.picker import Picker

            def picked(section: dict[str, Any] | None) -> None:
                if section:
                    card = cards.cards()[section["name"]]
                    self.change(self.plan.under(card, section.get("preset", "paper")))

            self.app.push_screen(Picker(self.desk, "What if it were"), picked)
            return
        from grpolab.tui.screens.asking import Asking

        def typed(found: tuple[Any] | None) -> None:
            if found is not None:
                self.take(knob, found[0])

        about = f"{knob.about}\ntakes {knob.kind}; in force: {knob.shown_before}"
        dialog = Asking(self.desk, knob.label, about, word(knob.value),
                        lambda text: self.read(knob, text))  # fmt: skip
        self.app.push_screen(dialog, typed)

    def action_whatif_undo(self) -> None:
        """The chosen one as it was."""
        knob, base = self.knob, self.basis.plan
        if knob.section == "algorithm":
            self.change(replace(base, answers=self.plan.answers, weights=self.plan.weights))
        elif knob.section == "answers":
            self.change(replace(self.plan, answers=base.answers))
        elif knob.section == "weight":
            name = knob.key.removeprefix("weight ")
            self.change(replace(self.plan, weights=self.plan.weights | {name: base.weights[name]}))
        elif knob.changed:
            self.take(knob, knob.before)

    def action_whatif_undo_all(self) -> None:
        self.change(self.basis.plan)

    # what is looked at

    def action_whatif_page(self) -> None:
        self.page = PAGES[(PAGES.index(self.page) + 1) % len(PAGES)]
        self.relayout()

    def action_lens_answer_next(self) -> None:
        self._go(self.group, self.answer + 1)

    def action_lens_answer_previous(self) -> None:
        self._go(self.group, self.answer - 1)

    def action_prompt_next(self) -> None:
        self._go(self.group + 1, self.answer)

    def action_prompt_previous(self) -> None:
        self._go(self.group - 1, self.answer)

    def _go(self, group: int, answer: int) -> None:
        pieces = self.lens.pieces
        self.group = group % len(pieces)
        self.answer = answer % len(pieces[self.group])
        self.token = 0
        self.again()

    # what comes of it

    def action_whatif_apply(self) -> None:
        """Make the change real, from the lane's next step on."""
        from grpolab.scenario import lab_wide

        wanted = whatif.commands(self.now(), self.plan)
        several = len(self.desk.state.lanes) > 1
        for command in wanted:
            whole = not several or lab_wide(command.get("key", ""))
            if not self.send(command if whole else command | {"lane": self.lens.lane}):
                self.again()
                return
        if wanted:
            self.desk.say(f"applied from the next step on: {words(wanted)}", "accent")
        else:
            self.desk.say("nothing to apply: the lane runs like this already")
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "knob":
            if value == self.at:
                self.action_whatif_type()
            else:
                self.at = str(value)
        elif what == "less" or what == "more":
            self.at = str(value)
            self._turn(1 if what == "more" else -1)
        elif what == "answer":
            self._go(self.group, int(value))
        elif what == "token":
            self.token = int(value)
        self.again()


def words(wanted: list[dict[str, Any]]) -> str:
    """The commands as a person says them."""
    out = []
    for command in wanted:
        if command["do"] == "switch":
            out.append(f"switch to {command['algorithm']['name'].upper()}")
        else:
            out.append(f"{command['key']} {word(command['value'])}")
    return ", ".join(out)
