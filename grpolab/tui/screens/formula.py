"""Formulas: one algorithm with its terms, live numbers and lineage, or two with what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpolab import events as ev
from grpolab.tui import cards, facts
from grpolab.tui.arrange import Box
from grpolab.tui.cards import Card
from grpolab.tui.desk import Desk
from grpolab.tui.panes.formula_parts import FormulaBody, FormulaList
from grpolab.tui.screens.sheet import Part, Sheet, bindings

if TYPE_CHECKING:
    from grpolab.algorithms.explain import Branch, Term


class FormulaScreen(Sheet):
    BINDINGS = bindings("formula")
    key = "formula"
    heading = "Formula"
    mouse = "click an algorithm, an ancestor, a key below"
    explains = (
        "The lane's algorithm ●: its formula, what each symbol means and what it is worth for "
        "the token selected in the lab, which branch of min() the token is on and why, the line "
        "of its ancestors, its presets.\n"
        "Go to another one: what differs. − stands only in the one, + only in the other, and "
        "what differs within a line stands in [brackets]. ◆ marks the algorithm that the others "
        "are compared with; it can be moved.\n"
        "Its source: the very file that computes it.\n"
        "Settings: of the lane's algorithm those in force, of the others their paper's."
    )

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        known = cards.load()
        self.lane = desk.view.lane
        self.own, self.preset, self.settings = desk.view.in_force(desk.state)
        self.base = self.own if self.own in known else next(iter(known))
        self.at, self.part = self.base, "body"
        self.parts = (FormulaList(self, id="list"), FormulaBody(self, id="body"))

    def boxes(self, width: int, height: int) -> dict[str, Box]:
        left = 26 if width >= 60 else 0
        body = {"body": Box(left, 0, width - left, height)}
        return body | ({"list": Box(0, 0, left, height)} if left else {})

    def news(self, events: list[ev.Event]) -> None:
        if any(isinstance(e, ev.Tokens | ev.StepDone) for e in events):
            self.touch(self.parts[1])  # other numbers
        if any(isinstance(e, ev.Switched | ev.SettingChanged) for e in events):
            self.own, self.preset, self.settings = self.desk.view.in_force(self.desk.state)
            self.again()

    def scrolled(self) -> Part[Any] | None:
        return self.parts[1]

    def values(self, card: Card) -> tuple[dict[str, Any], str]:
        """The settings that a card is shown with, and whose they are."""
        if card.name == self.own:
            return card.values() | self.settings, "in force"
        return card.values(), ""

    def explained(self, name: str) -> tuple[list[Term], Branch | None, str]:
        """The terms of an algorithm's formula, for the lane's own with the numbers of the token
        that is selected in the lab."""
        from grpolab.algorithms import ALGORITHMS, explain

        found = facts.selected(self.desk, name)
        if found is None:
            why = "" if name != self.own else "numbers come with the first finished step"
            return explain.terms(ALGORITHMS[name]), None, why
        return found.terms, found.branch, f"for {found.place}"

    def _choose(self, name: str) -> None:
        self.at = name
        self.parts[1].top = 0
        self.again()

    def _step(self, by: int) -> None:
        names = list(cards.cards())
        self._choose(names[(names.index(self.at) + by) % len(names)])

    def action_row_next(self) -> None:
        self._step(1)

    def action_row_previous(self) -> None:
        self._step(-1)

    def action_formula_mark(self) -> None:
        self.base = self.at
        self.again()

    def action_formula_source(self) -> None:
        from grpolab.tui.screens.source import SourceScreen

        self.app.push_screen(SourceScreen(self.desk, self.at))

    def action_formula_home(self) -> None:
        self.base = self.own if self.own in cards.cards() else self.base
        self._choose(self.base)

    def action_token_next(self) -> None:
        self._token(1)

    def action_token_previous(self) -> None:
        self._token(-1)

    def _token(self, by: int) -> None:
        self.desk.view.move_token(self.desk.state, by)
        self.again()

    def clicked(self, what: str, value: Any) -> None:
        if what == "algorithm":
            self._choose(str(value))
