"""The what-if's right boxes: the outcome beside what is, the group's answers, the tokens of one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from grpolab.hints import METRICS
from grpolab.tui.numbers import MISSING, directed, fixed, number, percent, signed
from grpolab.tui.panes.lens_table import cosine_bar
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, visible, wrap
from grpolab.tui.token_rows import Scale, around, layout, painted, shown

if TYPE_CHECKING:
    from grpolab.tui.screens.whatif import WhatIfScreen  # noqa: F401

SHOWN = (
    ("loss", "loss", "what training makes smaller; 0 at ratio 1 says nothing about the gradient"),
    ("policy", "policy part", "the surrogate: what is gained by praised tokens, as a loss"),
    ("kl", "β·KL part", "the price of being away from the reference, where it is in the loss"),
    ("value", "critic part", "the critic's error, where the algorithm has one"),
    ("weight", "Σ|grad|", "how strongly all tokens together are pushed"),
    ("clip_fraction", "clipped", METRICS["clip_fraction"]),
    ("advantage_std", "adv. spread", METRICS["advantage_std"]),
    ("zero_std_groups", "no signal", METRICS["zero_std_groups"]),
    ("ratio_max", "ratio max", METRICS["ratio_max"]),
    ("kl_ref", "KL to ref", METRICS["kl_ref"]),
    ("explained_variance", "expl. var", METRICS["explained_variance"]),
)


class Outcome(Part["WhatIfScreen"]):
    title = "Outcome"

    def info(self) -> tuple[str, str]:
        s = self.sheet
        took = f"{s.took * 1000:.0f} ms" if s.took and not s.asked else ""
        return f"{visible(s.plan.algorithm).upper()} · {visible(s.plan.preset)}", took

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.desk.palette, self.sheet
        out: list[Line] = []
        if s.before is None and not s.problem:
            return [Line(x, p.style("accent")) for x in wrap(self._waiting(), width)]
        if s.problem:
            out += [Line(x, p.style("bad")) for x in wrap(f"✗ {s.problem}", width)]
            out.append(Line("Numbers below are of what is in force.", p.style("dim")))
        cosine = s.after.cosine if s.after else None
        same = s.plan == s.basis.plan
        head = Line("cosine to what is in force ", p.style("dim"))
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
        waited = time.monotonic() - self.sheet.asked if self.sheet.asked else 0.0
        return f"{self.desk.spin} a process of its own takes up the rollout… {waited:.0f} s"

    def _verdict(self, cosine: float | None, same: bool) -> str:
        if same:
            return "nothing is changed yet: both columns are the same"
        if self.sheet.after is None:
            return ""
        if (before := self.sheet.before) and (
            before.gradient == self.sheet.after.gradient and before.loss == self.sheet.after.loss
        ):
            return "no difference: nothing in this rollout reaches what is changed"
        if cosine is None:
            return "one of the two has no gradient: nothing to learn for it"
        words = ((0.995, "the same direction"), (0.8, "much the same direction"),
                 (0.3, "partly the same direction"), (-0.1, "little in common"))  # fmt: skip
        return next((told for least, told in words if cosine >= least), "against what is in force")

    def _rows(self, width: int, room: int) -> list[Line]:
        p, s = self.desk.palette, self.sheet
        faint = p.style("faint")
        head = Line().cell("", 12).cell("in force", 10, faint, right=True)
        out = [head.cell("what if", 10, faint, right=True).cell("change", 11, faint, right=True)]
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
            if width - line.width > 24:
                line.add("  " + clip(hint, width - line.width - 2), p.style("faint"))
            out.append(line)
        return out[: max(2, room)] if room < len(out) else out

    def _value(self, found: object, key: str) -> float | None:
        from grpolab.tui.whatif import Scored

        if not isinstance(found, Scored):
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


class Answers(Part["WhatIfScreen"]):
    title = "Answers"

    def info(self) -> tuple[str, str]:
        s = self.sheet
        return f"prompt {s.group + 1}/{len(s.lens.prompts)}", clip(
            visible(s.lens.prompts[s.group]), 30
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.desk.palette, self.sheet
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
        p, s = self.desk.palette, self.sheet
        here = i == s.answer
        line = Line("▸" if here else " ", p.style("accent")).cell(str(i + 1), 3, p.style("dim"))
        for k, found in enumerate((s.before, s.after)):
            rewards = found.rewards[s.group] if found else []
            told = fixed(rewards[i]) if i < len(rewards) else "left out" if found else MISSING
            line.cell(told, 8 + k, p.style("text"), right=True)
        for k, found in enumerate((s.before, s.after)):
            value = found.advantage(s.group, i) if found else None
            mark, hue = ("·", "dim")
            if value:
                mark, hue = ("▲", "plus") if value > 0 else ("▼", "minus")
            told = MISSING if value is None else f"{mark} {signed(value)}"
            line.cell(told, 12 - 2 * k, p.style(hue), right=True)
        text = "".join(s.lens.pieces[s.group][i])
        line.add(
            "  " + clip(visible(text[: width * 2]), max(0, width - line.width - 2)), p.style("dim")
        )
        line.to(width).whole(("answer", i), width)
        return line.on(p.style("", "raised")) if here else line


class Pushes(Part["WhatIfScreen"]):
    title = "Tokens"

    def info(self) -> tuple[str, str]:
        return (
            f"answer {self.sheet.answer + 1}",
            "marks: as it is, then what if, each by its own largest",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s = self.desk.palette, self.sheet
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
        if s.before is None:  # no numbers yet, so no marks
            out = [Line("".join(text for _, text in cells), p.style("text")) for cells in rows]
            return out[:height]
        for cells in around(rows, s.token, max(1, (height - 1) // 3)):
            out += painted(p, cells, ours, scale, s.token, others)
        piece = clip(shown(pieces[s.token]), 16)
        foot = Line(f"token {s.token + 1} «{piece}»  ", p.style("dim"))
        for name, values in (("as it is", ours), ("what if", others[0])):
            told = directed(values[s.token]) if s.token < len(values) else MISSING
            foot.add(f"{name} ", p.style("faint")).add(f"{told}   ", p.style("text"))
        return [*out[: height - 1], foot]
