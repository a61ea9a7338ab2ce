"""Choose the algorithm to switch to, or of a fork, and see what is kept, created and dropped."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import Card, word
from grpolab.tui.context import AppContext
from grpolab.tui.formulas import explain_view
from grpolab.tui.widgets.chooser import Chooser
from grpolab.tui.widgets.text import Line, clip, flow, wrap

NAME = 21  # cells


class Picker(Chooser[dict[str, Any]]):
    """Gives the `algorithm` section of a switch command, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "preset(-1)", "preset", show=False),
        Binding("right", "preset(1)", "preset", show=False),
        *(Binding(str(i), f"pick({i})", show=False) for i in range(1, 10)),
    ]

    def __init__(self, context: AppContext, what: str = "Switch the algorithm") -> None:
        super().__init__(context)
        self.what = what
        self.cards = algorithm_cards.load()
        lane = context.view.lane_state(context.state)
        self.now = lane.algorithm if lane else ""
        self.critic = bool(lane and lane.critic and lane.critic.state != "gone")
        self.groups = algorithm_cards.in_groups()
        names = list(self.groups)
        self.at = (names.index(self.now) + 1) % len(names) if self.now in names else 0
        self.preset = 0

    def title_text(self) -> str:
        return self.what

    def keys_text(self) -> str:
        return "↑↓ choose · ←→ preset · ↵ switch · 1–9 at once · esc cancel"

    def names(self) -> list[str]:
        return list(self.groups)

    def section(self, name: str) -> str:
        return self.groups[name]

    def typing(self, char: str) -> bool:
        return super().typing(char) and not char.isdigit()

    def entry(self, name: str, here: bool, width: int) -> Line:
        p = self.context.palette
        number = self.left.index(name) + 1
        line = Line("▸ " if here else "  ", p.style("accent"))
        line.cell(str(number) if number < 10 else "", 3, p.style("dim"))
        line.cell(name.upper(), NAME, p.style("accent" if here else "text", bold=True))
        if name == self.now:
            return line.add("current", p.style("good"))
        told = Line()
        for i, part in enumerate(algorithm_cards.change(self.now, name)):
            gap = "   " if i else ""
            if i and line.width + told.width + len(gap) + len(part) > width:
                break  # all of it stands below, for the chosen one
            told.add(gap + part, p.style("text" if here else "dim"))
        return line.join(told)

    def about(self, name: str, width: int) -> list[Line]:
        p, card = self.context.palette, self.cards[name]
        preset = list(card.presets)[self.preset % len(card.presets)]
        out = [Line(), Line(clip(card.title, width), p.style("text", bold=True))]
        line = Line(clip(card.paper, max(0, width - 30)), p.style("faint"))
        out += [line.add(f"   loss mean: {card.aggregation}", p.style("faint"))]
        out += explain_view.formula(p, card.formula, width)
        parts = [Line("preset", p.style("dim"))]
        for i, known in enumerate(card.presets):
            style = p.style("ground", "accent") if known == preset else p.style("dim")
            parts.append(Line().add(f" {known} ", style, hit=("preset", i)))
        out += [Line(), *flow(parts, width, " ")]
        changed = ", ".join(f"{k} = {word(v)}" for k, v in card.presets[preset].items())
        out += [
            Line(f"  {row}", p.style("faint")) for row in wrap(changed or "the defaults", width)
        ]
        for verb, text, colour in self._effects(card, preset):
            for i, row in enumerate(wrap(text, width - 9)):
                head = Line().cell(verb if i == 0 else "", 9, p.style(colour))
                out.append(head.add(row, p.style("text")))
        return out

    def _effects(self, card: Card, preset: str) -> list[tuple[str, str, str]]:
        needs = card.needs[preset]
        out = [("kept", "the policy, its optimizer, the random state, the curves", "good")]
        if "a critic" in needs and not self.critic:
            out.append(("new", "a critic, cold: its values mean little at first", "warn"))
        if self.critic and "a critic" not in needs:
            out.append(("dropped", "the critic and its memory", "warn"))
        if others := [what for what in needs if what != "a critic"]:
            out.append(("needs", ", ".join(others), "dim"))
        return [*out, ("when", "after the current step", "dim")]

    def action_pick(self, number: int) -> None:
        """Switch at once to the algorithm of this number, with its first preset."""
        if number <= len(self.left):
            self.at, self.preset = number - 1, 0
            self.action_choose()

    def chosen(self) -> None:
        self.preset = 0

    def action_preset(self, by: int) -> None:
        if self.name_here is not None:
            self.preset = (self.preset + by) % len(self.cards[self.name_here].presets)
            self.again()

    def action_choose(self) -> None:
        if self.name_here is None:
            return
        card = self.cards[self.name_here]
        preset = list(card.presets)[self.preset]
        self.dismiss({"name": card.name} | ({"preset": preset} if preset != "paper" else {}))

    def clicked(self, what: str, value: Any) -> None:
        if what == "preset":
            self.preset = int(value)
            self.again()
        else:
            super().clicked(what, value)


class ForkPicker(Picker):
    """The algorithm of a new lane: the same list, and what a fork does instead of a switch."""

    def __init__(self, context: AppContext, checkpoint: int | None) -> None:
        super().__init__(context)
        self.checkpoint = checkpoint

    def title_text(self) -> str:
        place = "here" if self.checkpoint is None else f"at step {self.checkpoint}"
        return f"Fork lane {self.context.view.lane} {place}: under which algorithm?"

    def keys_text(self) -> str:
        return "↑↓ choose · ←→ preset · ↵ name it · esc cancel"

    def _effects(self, card: Card, preset: str) -> list[tuple[str, str, str]]:
        needs = card.needs[preset]
        out = [
            (
                "copied",
                "the policy, its optimizer, its settings; same prompts and random seeds",
                "good",
            )
        ]
        if "a critic" in needs:
            told = "copied" if self.critic else "new and cold"
            out.append(("critic", told, "good" if self.critic else "warn"))
        if others := [what for what in needs if what != "a critic"]:
            out.append(("needs", ", ".join(others), "dim"))
        out.append(("cost", "a step of the run computes every lane in turn", "warn"))
        return [*out, ("when", "after the current step", "dim")]
