"""The boxes of the what-if: what can be changed, the outcome next to the current numbers, the
group's answers, and the tokens of one answer.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpolab.analysis.metric_help import METRICS
from grpolab.tui import algorithm_cards
from grpolab.tui.algorithm_cards import word
from grpolab.tui.lab.rollouts import window
from grpolab.tui.lens.view import cosine_bar
from grpolab.tui.whatif.model import Plan, Scored
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import (
    MISSING,
    Line,
    clip,
    directed,
    fixed,
    number,
    percent,
    signed,
    visible,
    wrap,
)
from grpolab.tui.widgets.token_rows import Scale, around, layout, painted, shown

if TYPE_CHECKING:
    from grpolab.tui.whatif.screen import WhatIfScreen  # noqa: F401

SHOWN = (
    ("loss", "loss", "what training minimizes; 0 at ratio 1 says nothing about the gradient"),
    ("policy", "policy part", "the negated surrogate objective"),
    ("kl", "β·KL part", "KL penalty, if it is part of the loss"),
    ("value", "critic part", "loss of the critic, if there is one"),
    ("weight", "Σ|grad|", "sum of |∂loss/∂log π| over all tokens"),
    ("clip_fraction", "clipped", METRICS["clip_fraction"]),
    ("advantage_std", "adv. std", METRICS["advantage_std"]),
    ("zero_std_groups", "zero var.", METRICS["zero_std_groups"]),
    ("ratio_max", "ratio max", METRICS["ratio_max"]),
    ("kl_ref", "KL to ref.", METRICS["kl_ref"]),
    ("explained_variance", "expl. var", METRICS["explained_variance"]),
)
"""Rows of the outcome: metric, label, meaning."""

GREEK = {
    "beta": "β", "gamma": "γ", "gae_lambda": "λ", "clip_low": "ε low", "clip_high": "ε high",
    "dual_clip": "c", "kl_target": "KL target",
}  # fmt: skip
FIRST = ("beta", "clip_low", "clip_high", "gamma", "gae_lambda", "baseline", "aggregation")
"""Settings listed before the others."""


@dataclass(frozen=True)
class Knob:
    """One thing that can be changed."""

    key: str
    section: str  # algorithm, preset, answers, weight, setting
    label: str
    about: str
    kind: str  # valid values, in words
    value: Any
    before: Any = None
    known: bool = True  # whether the lane's algorithm has it too
    usual: Any = None  # its default

    @property
    def changed(self) -> bool:
        return self.known and self.value != self.before

    @property
    def shown_before(self) -> str:
        return word(self.before) if self.known else "n/a"


def knobs(base: Plan, plan: Plan) -> list[Knob]:
    """Everything that can be changed, with its current and its planned value."""
    known = algorithm_cards.cards()
    card = known.get(plan.algorithm)
    names, presets = list(known), list(card.presets) if card else ["paper"]
    out = [
        Knob(
            key="algorithm",
            section="algorithm",
            label="algorithm",
            about="algorithm used to score the rollout",
            kind=" | ".join(names),
            value=plan.algorithm,
            before=base.algorithm,
        ),
        Knob(
            key="preset",
            section="preset",
            label="preset",
            about="default settings: the paper's, or those of another framework",
            kind=" | ".join(presets),
            value=plan.preset,
            before=base.preset,
        ),
        Knob(
            key="answers",
            section="answers",
            label="G answers",
            about="how many answers of each group are used, the first ones",
            kind=f"whole number from 1 to {base.answers}",
            value=plan.answers,
            before=base.answers,
        ),
    ]
    for name, weight in plan.weights.items():
        was = base.weights[name]
        about = f"weight of the reward part «{name}»"
        about += "" if was else "; its weight was 0, so its scores were not recorded"
        out.append(
            Knob(
                key=f"weight {name}",
                section="weight",
                label=f"weight {name}",
                about=about,
                kind="number",
                value=weight,
                before=was,
            )
        )
    settings = sorted(
        card.settings if card else (),
        key=lambda s: (FIRST.index(s.name) if s.name in FIRST else len(FIRST), s.shared),
    )
    for s in settings:
        label = f"{GREEK[s.name]}  {s.name}" if s.name in GREEK else s.name
        there = s.name in base.settings and plan.algorithm == base.algorithm
        out.append(
            Knob(
                key=s.name,
                section="setting",
                label=label,
                about=s.description,
                kind=s.kind,
                value=plan.settings.get(s.name),
                before=base.settings.get(s.name),
                known=there,
                usual=s.default,
            )
        )
    return out


class Knobs(Box["WhatIfScreen"]):
    title = "Change"

    def info(self) -> tuple[str, str]:
        changed = sum(k.changed for k in self.overlay.knobs)
        return f"step {self.overlay.lens.step}", f"✎ {changed} changed" if changed else "unchanged"

    def content(self, width: int, height: int) -> list[Line]:
        found, at = self.overlay.knobs, self.overlay.knob
        about = self._about(at, width) if height >= 9 else self._about(at, width)[1:2]
        room = max(1, height - len(about))
        rows = [self._row(found[i], width) for i in window(len(found), found.index(at), room)]
        return [*rows, *(Line() for _ in range(room - len(rows))), *about]

    def _row(self, knob: Knob, width: int) -> Line:
        p = self.context.palette
        here = knob.key == self.overlay.knob.key
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
        p = self.context.palette
        head = Line("─" * width, p.style("line"))
        text = wrap(visible(knob.about), width)
        takes = "" if knob.section == "algorithm" else f"takes {knob.kind}"
        return [head, *(Line(x, p.style("text")) for x in text[:3]),
                *(Line(x, p.style("faint")) for x in wrap(takes, width)[:2] if x)]  # fmt: skip


class Outcome(Box["WhatIfScreen"]):
    title = "Outcome"

    def info(self) -> tuple[str, str]:
        s = self.overlay
        took = f"{s.seconds * 1000:.0f} ms" if s.seconds and not s.asked else ""
        return f"{visible(s.plan.algorithm).upper()} · {visible(s.plan.preset)}", took

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        out: list[Line] = []
        if s.before is None and not s.problem:
            return [Line(x, p.style("accent")) for x in wrap(self._waiting(), width)]
        if s.problem:
            out += [Line(x, p.style("bad")) for x in wrap(f"✗ {s.problem}", width)]
            out.append(Line("The numbers below are the current ones.", p.style("dim")))
        cosine = s.after.cosine if s.after else None
        same = s.plan == s.basis.plan
        head = Line("cosine with current gradient ", p.style("dim"))
        head.add(signed(cosine) if s.after else MISSING, p.style("text", bold=True)).add(" ")
        head.add(cosine_bar(cosine, 17), p.style("plus" if (cosine or 0) >= 0 else "minus"))
        out.append(head)
        if s.ready or s.problem or same:
            out.append(Line(self._verdict(cosine, same), p.style("dim")))
        else:
            out.append(Line(clip(self._waiting(), width), p.style("accent")))
        for note in s.after.notes if s.after else ():
            out += [Line(x, p.style("warn")) for x in wrap(f"note: {visible(note)}", width)]
        return out + self._rows(width, height - len(out))

    def _waiting(self) -> str:
        waited = time.monotonic() - self.overlay.asked if self.overlay.asked else 0.0
        return f"{self.context.spin} loading the rollout in another process: {waited:.0f} s"

    def _verdict(self, cosine: float | None, same: bool) -> str:
        if same:
            return "nothing changed: both columns are equal"
        if self.overlay.after is None:
            return ""
        if (before := self.overlay.before) and (
            before.gradient == self.overlay.after.gradient
            and before.loss == self.overlay.after.loss
        ):
            return "no difference: the change has no effect on this rollout"
        if cosine is None:
            return "one of the two has no gradient"
        words = ((0.995, "same direction"), (0.8, "nearly the same direction"),
                 (0.3, "partly the same direction"), (-0.1, "nearly unrelated"))  # fmt: skip
        return next((told for least, told in words if cosine >= least), "opposite direction")

    def _rows(self, width: int, room: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        faint = p.style("faint")
        head = Line().cell("", 12).cell("current", 10, faint, right=True)
        out = [head.cell("what if", 10, faint, right=True).cell("Δ", 11, faint, right=True)]
        for key, label, hint in SHOWN:
            was, now = self._value(s.before, key), self._value(s.after, key)
            if (was is None and now is None) or (key in ("kl", "value") and not (was or now)):
                continue
            line = Line().cell(label, 12, p.style("dim"))
            line.cell(_told(key, was), 10, p.style("text"), right=True)
            differs = was is not None and now is not None and not math.isclose(was, now)
            line.cell(_told(key, now), 10, p.style("accent" if differs else "text"), right=True)
            change = directed(now - was) if differs and now is not None and was is not None else ""
            line.cell(change, 11, p.style("warn"), right=True)
            if width - line.width > 24 and len(hint) <= width - line.width - 2:
                line.add("  " + hint, p.style("faint"))
            out.append(line)
        return out[: max(2, room)] if room < len(out) else out

    def _value(self, found: Scored | None, key: str) -> float | None:
        if found is None:
            return None
        if key == "loss":
            return found.loss
        if key == "weight":
            return found.weight
        return found.terms.get(key, found.metrics.get(key))


def _told(key: str, value: float | None) -> str:
    if value is None:
        return MISSING
    if key == "clip_fraction":
        return percent(value)
    if key == "zero_std_groups":
        return f"{value:.0f}"
    return "0" if abs(value) < 5e-7 else number(value)


class Answers(Box["WhatIfScreen"]):
    title = "Answers"

    def info(self) -> tuple[str, str]:
        s = self.overlay
        return f"prompt {s.group + 1}/{len(s.lens.prompts)}", clip(
            visible(s.lens.prompts[s.group]), 30
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        faint = p.style("faint")
        head = (
            Line("    ").cell("reward", 8, faint, right=True).cell("what if", 9, faint, right=True)
        )
        head.cell("advantage", 12, faint, right=True).cell("what if", 10, faint, right=True)
        head.add("  answer", faint)
        many = len(s.lens.pieces[s.group])
        rows = [self._row(i, width) for i in window(many, s.answer, max(1, height - 1))]
        return [head, *rows]

    def _row(self, i: int, width: int) -> Line:
        p, s = self.context.palette, self.overlay
        here = i == s.answer
        line = Line("▸" if here else " ", p.style("accent")).cell(str(i + 1), 3, p.style("dim"))
        for k, found in enumerate((s.before, s.after)):
            rewards = found.rewards[s.group] if found else []
            told = fixed(rewards[i]) if i < len(rewards) else "unused" if found else MISSING
            line.cell(told, 8 + k, p.style("text"), right=True)
        for k, found in enumerate((s.before, s.after)):
            value = found.advantage(s.group, i) if found else None
            mark, hue = sign(value)
            told = MISSING if value is None else f"{mark} {signed(value)}"
            line.cell(told, 12 - 2 * k, p.style(hue), right=True)
        text = "".join(s.lens.pieces[s.group][i])
        line.add(
            "  " + clip(visible(text[: width * 2]), max(0, width - line.width - 2)), p.style("dim")
        )
        line.to(width).whole(("answer", i), width)
        return line.on(p.style("", "raised")) if here else line


class Pushes(Box["WhatIfScreen"]):
    title = "Tokens"

    def info(self) -> tuple[str, str]:
        return (
            f"answer {self.overlay.answer + 1}",
            "marks: current, below what if",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.context.palette, self.overlay
        pieces = s.lens.pieces[s.group][s.answer]
        if not pieces:
            return [Line("(empty answer)", p.style("faint"))]
        both = []
        for found in (s.before, s.after):
            push = found.push(s.group, s.answer) if found else []
            both.append((push, Scale("push", [found.limit(s.group)] if found else [0.0])))
        (ours, scale), others = both
        rows = layout(tuple(pieces), width)
        s.token = min(s.token, len(pieces) - 1)
        out: list[Line] = []
        if s.before is None:  # no numbers yet
            out = [Line("".join(text for _, text in cells), p.style("text")) for cells in rows]
            return out[:height]
        for cells in around(rows, s.token, max(1, (height - 1) // 3)):
            out += painted(p, cells, ours, scale, s.token, others)
        piece = clip(shown(pieces[s.token]), 16)
        foot = Line(f"token {s.token + 1} «{piece}»  ", p.style("dim"))
        for name, values in (("current", ours), ("what if", others[0])):
            told = directed(values[s.token]) if s.token < len(values) else MISSING
            foot.add(f"{name} ", p.style("faint")).add(f"{told}   ", p.style("text"))
        return [*out[: height - 1], foot]
