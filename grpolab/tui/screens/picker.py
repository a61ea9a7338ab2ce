"""Choose the algorithm to switch to; says beforehand what a switch keeps and what it creates or
drops.
"""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from grpolab.tui import cards
from grpolab.tui.desk import Desk
from grpolab.tui.numbers import number
from grpolab.tui.panes.base import Canvas
from grpolab.tui.screens.dialog import Dialog
from grpolab.tui.text import Line, wrap


class Picker(Dialog[dict[str, Any]]):
    """Gives the `algorithm` section of a switch command, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "choose", "switch", show=False),
        Binding("left,h", "preset(-1)", "preset", show=False),
        Binding("right,l", "preset(1)", "preset", show=False),
        *(Binding(str(i), f"pick({i})", show=False) for i in range(1, 10)),
    ]

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.cards = list(cards.load().values())
        lane = desk.view.lane_state(desk.state)
        self.now = lane.algorithm if lane else ""
        names = [c.name for c in self.cards]
        self.at = (names.index(self.now) + 1) % len(names) if self.now in names else 0
        self.preset = 0

    def title_text(self) -> str:
        return "Switch the algorithm"

    def keys_text(self) -> str:
        return "↑↓ choose · ←→ preset · ↵ switch · 1–9 switch at once · esc stay"

    def rows(self, width: int) -> list[Line]:
        p = self.desk.palette
        out: list[Line] = []
        for i, card in enumerate(self.cards):
            here = i == self.at
            line = Line("▸ " if here else "  ", p.style("accent")).add(f"{i + 1}  ", p.style("dim"))
            line.cell(card.name.upper(), 12, p.style("accent" if here else "text", bold=True))
            line.cell(card.title, max(10, width - 26), p.style("text" if here else "dim"))
            line.cell("in force" if card.name == self.now else "", 9, p.style("good"), right=True)
            line.to(width).whole(("choose", i), width)
            out.append(line.on(p.style("", "raised")) if here else line)
        card = self.cards[self.at]
        out += [
            Line(),
            Line(card.paper, p.style("faint")).add(
                f"   aggregation: {card.aggregation}", p.style("faint")
            ),
        ]
        for statement in card.formula.split("\n"):
            out += [
                Line("▌ ", p.style("accent")).add(row, p.style("text"))
                for row in wrap(statement, width - 2)
            ]
        presets = list(card.presets)
        line = Line("preset  ", p.style("dim"))
        for i, name in enumerate(presets):
            style = p.style("ground", "accent") if i == self.preset else p.style("dim")
            line.add(f" {name} ", style, hit=("preset", i))
        out += [Line(), line]
        changed = [f"{k} = {number(v)}" for k, v in card.presets[presets[self.preset]].items()]
        out += [
            Line("        " + row, p.style("faint"))
            for row in wrap(", ".join(changed) or "the defaults", width - 8)
        ]
        out.append(Line())
        for word, text, colour in self._effects(card):
            for i, row in enumerate(wrap(text, width - 9)):
                out.append(
                    Line()
                    .cell(word if i == 0 else "", 9, p.style(colour))
                    .add(row, p.style("text"))
                )
        return out

    def _effects(self, card: cards.Card) -> list[tuple[str, str, str]]:
        before = cards.cards().get(self.now)
        out = [("kept", "the policy and what it learned, the random state, the curves", "good")]
        if card.needs_critic and not (before and before.needs_critic):
            out.append(
                (
                    "new",
                    "a critic, cold at first: its forecasts mean little until it explains variance",
                    "warn",
                )
            )
        if before and before.needs_critic and not card.needs_critic:
            out.append(("dropped", "the critic and its memory", "warn"))
        out.append(("when", "after the step that is running now", "dim"))
        return out

    def action_down(self) -> None:
        self._go(self.at + 1)

    def action_up(self) -> None:
        self._go(self.at - 1)

    def action_pick(self, number: int) -> None:
        """By its number: switch at once, as its first preset says."""
        if number <= len(self.cards):
            self.at, self.preset = number - 1, 0
            self.action_choose()

    def _go(self, at: int) -> None:
        self.at, self.preset = at % len(self.cards), 0
        self.again()

    def action_preset(self, by: int) -> None:
        self.preset = (self.preset + by) % len(self.cards[self.at].presets)
        self.again()

    def action_choose(self) -> None:
        card = self.cards[self.at]
        preset = list(card.presets)[self.preset]
        self.dismiss({"name": card.name} | ({"preset": preset} if preset != "paper" else {}))

    def on_canvas_clicked(self, message: Canvas.Clicked) -> None:
        message.stop()
        what, value = message.hit
        if what == "preset" and isinstance(value, int):
            self.preset = value
            self.again()
        elif what == "choose" and isinstance(value, int):
            if self.at == value:
                self.action_choose()
            else:
                self._go(value)
