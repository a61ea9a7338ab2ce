"""The what-if's left box: everything that can be changed, as it is and as it would be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpolab.tui import cards
from grpolab.tui.cards import word
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, visible, wrap
from grpolab.tui.whatif import Plan

if TYPE_CHECKING:
    from grpolab.tui.screens.whatif import WhatIfScreen  # noqa: F401

GREEK = {
    "beta": "β", "gamma": "γ", "gae_lambda": "λ", "clip_low": "ε low", "clip_high": "ε high",
    "dual_clip": "c", "kl_target": "KL target",
}  # fmt: skip
FIRST = ("beta", "clip_low", "clip_high", "gamma", "gae_lambda", "baseline", "aggregation")
"""What one wants to turn before the rest."""


@dataclass(frozen=True)
class Knob:
    """One thing to change."""

    key: str
    section: str  # algorithm, preset, answers, weight, setting
    label: str
    about: str
    kind: str  # what it takes, in words
    value: Any
    before: Any = None
    known: bool = True  # the lane's own algorithm has it too
    usual: Any = None

    @property
    def changed(self) -> bool:
        return self.known and self.value != self.before

    @property
    def shown_before(self) -> str:
        return word(self.before) if self.known else "not there"


def knobs(base: Plan, plan: Plan) -> list[Knob]:
    """Everything that a plan can change beside what is in force."""
    known = cards.cards()
    card = known.get(plan.algorithm)
    names, presets = list(known), list(card.presets) if card else ["paper"]
    out = [
        Knob("algorithm", "algorithm", "algorithm", "who looks at the rollout", " | ".join(names),
             plan.algorithm, base.algorithm),
        Knob("preset", "preset", "preset", "whose numbers it computes: the paper's, or those of "
             "another framework", " | ".join(presets), plan.preset, base.preset),
        Knob("answers", "answers", "G answers", "how many of each group's answers count, the first "
             "ones", f"whole number from 1 to {base.answers}", plan.answers, base.answers),
    ]  # fmt: skip
    for name, weight in plan.weights.items():
        was = base.weights[name]
        about = f"weight of the reward's part «{name}»"
        about += "" if was else "; the run gave it 0, so its scores are not recorded"
        out.append(Knob(f"weight {name}", "weight", f"weight {name}", about, "number", weight, was))
    settings = sorted(
        card.settings if card else (),
        key=lambda s: (FIRST.index(s.name) if s.name in FIRST else len(FIRST), s.shared),
    )
    for s in settings:
        label = f"{GREEK[s.name]}  {s.name}" if s.name in GREEK else s.name
        there = s.name in base.settings and plan.algorithm == base.algorithm
        out.append(
            Knob(s.name, "setting", label, s.description, s.kind, plan.settings.get(s.name),
                 base.settings.get(s.name), there, s.default)
        )  # fmt: skip
    return out


class Knobs(Part["WhatIfScreen"]):
    title = "Change"

    def info(self) -> tuple[str, str]:
        changed = sum(k.changed for k in self.sheet.knobs)
        return f"step {self.sheet.lens.step}", f"✎ {changed} changed" if changed else "as it is"

    def content(self, width: int, height: int) -> list[Line]:
        found, at = self.sheet.knobs, self.sheet.knob
        about = self._about(at, width) if height >= 9 else self._about(at, width)[1:2]
        room = max(1, height - len(about))
        rows = [self._row(found[i], width) for i in window(len(found), found.index(at), room)]
        return [*rows, *(Line() for _ in range(room - len(rows))), *about]

    def _row(self, knob: Knob, width: int) -> Line:
        p = self.desk.palette
        here = knob.key == self.sheet.knob.key
        line = Line("▸" if here else " ", p.style("accent"))
        line.add("✎ " if knob.changed else "  ", p.style("warn"))
        names = min(24, max(12, width // 2 - 4))
        line.cell(visible(knob.label), names, p.style("accent" if here else "text", bold=here))
        line.add("◂ " if here else "  ", p.style("dim"), hit=("less", knob.key))
        value = clip(visible(word(knob.value)), max(4, width - line.width - 4))
        line.add(value, p.style("warn" if knob.changed else "text", bold=knob.changed))
        line.add(" ▸" if here else "  ", p.style("dim"), hit=("more", knob.key))
        if knob.changed:
            room = width - line.width - 6
            if room >= 2:
                line.add("  was ", p.style("faint"))
                line.add(clip(visible(word(knob.before)), room), p.style("dim"))
        line.to(width).whole(("knob", knob.key), width)
        return line.on(p.style("", "raised")) if here else line

    def _about(self, knob: Knob, width: int) -> list[Line]:
        p = self.desk.palette
        head = Line("─" * width, p.style("line"))
        text = wrap(visible(knob.about), width)
        takes = "" if knob.section == "algorithm" else f"takes {knob.kind}"
        return [head, *(Line(x, p.style("text")) for x in text[:3]),
                *(Line(x, p.style("faint")) for x in wrap(takes, width)[:2] if x)]  # fmt: skip
