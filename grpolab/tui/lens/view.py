"""The boxes of the lens: the table of algorithms, an answer's tokens under one or two of them, the
selected token explained, and the tokens on which two disagree most.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from grpolab.tui.formulas import explain_view
from grpolab.tui.lab.rollouts import window
from grpolab.tui.lens.model import Lens, Look
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import (
    MISSING,
    Line,
    clip,
    directed,
    fixed,
    flow,
    number,
    percent,
    signed,
    visible,
    wrap,
)
from grpolab.tui.widgets.token_rows import Scale, around, layout, painted, shown

if TYPE_CHECKING:
    from grpolab.tui.lens.model import Apart
    from grpolab.tui.lens.screen import LensScreen

NO_LOSS = (
    "A loss of 0 does not mean a gradient of 0: at ratio 1, centered advantages cancel in the loss "
    "but not in its gradient. See Σ|grad| and the cosines."
)
NO_GRADIENT = "No algorithm has a gradient here: all rewards of a group are equal (zero variance)."
MISSING_INPUTS = (
    ("values", "no critic"), ("ref_logprobs", "no reference"),
    ("greedy_reward", "no greedy answer"), ("step_rewards", "no step scores"),
)  # fmt: skip
"""What a batch may lack, and how the table says it."""

BAR = 9
"""Width of a cosine's bar, in cells."""


class LensTable(Box["LensScreen"]):
    title = "Algorithms"

    def info(self) -> tuple[str, str]:
        lens = self.overlay.lens
        if lens is None:
            return "", ""
        many = f"step {lens.step} · {len(lens.looks)} of {len(lens.names)} algorithms"
        return many, f"trained with {visible(lens.current).upper()}"

    def content(self, width: int, height: int) -> list[Line]:
        p, lens = self.context.palette, self.overlay.lens
        told = self.overlay.status()
        status = [Line(row, p.style(told[1])) for row in wrap(told[0], width)] if told else []
        if lens is None:
            about = wrap(self.overlay.explains.replace("\n", "\n\n"), width)
            return [Line(), *status, Line(), *(Line(row, p.style("faint")) for row in about)]
        foot = status + self._foot(lens, width)
        foot = foot[: max(2, height - 6)]
        room = max(1, height - 1 - len(foot))
        at = lens.names.index(self.overlay.at)
        rows = [self._row(lens, lens.names[i], width) for i in window(len(lens.names), at, room)]
        if len(rows) + 1 + len(foot) < height:
            rows.append(Line())
        return [self._head(lens, width), *rows, *foot]

    def _shape(self, lens: Lens, width: int) -> tuple[int, bool, int, int]:
        """Width of the names, whether a loss's terms have columns, and the widths of the two
        cosines' bars (0: no bar)."""
        two = lens.parameters is not None
        terms = width >= (98 if two else 88)
        rest = width - 4 - 8 - 6 - 8 - 7 - (3 * 9 if terms else 0) - (8 if two else 0)
        bar = BAR if rest >= 14 + BAR else 0
        names = max(8, min(22, rest - bar))
        rest -= names + bar
        second = BAR if two and rest >= BAR else 0
        if bar and rest - second >= BAR - 1:
            bar += BAR - 1
        return names, terms, bar, second

    def _head(self, lens: Lens, width: int) -> Line:
        p = self.context.palette
        faint = p.style("faint")
        names, terms, bars, second = self._shape(lens, width)
        line = Line("    ").cell("algorithm", names, faint).cell("loss", 8, faint, right=True)
        for name in ("policy", "kl", "value") if terms else ():
            line.cell(name, 9, faint, right=True)
        line.cell("clip", 6, faint, right=True).cell("Σ|grad|", 8, faint, right=True).add(" ")
        head = f"cos to {visible(lens.anchor).upper()}" if bars else "cos"
        line.cell(head, bars + 6, faint, right=not bars)
        if lens.parameters is not None:
            line.add("  ").cell("on parameters" if second else "param", second + 6, faint)
        return line

    def _row(self, lens: Lens, name: str, width: int) -> Line:
        p = self.context.palette
        here, look = name == self.overlay.at, lens.looks.get(name)
        line = Line("▸" if here else " ", p.style("accent"))
        if name == lens.current:
            glyph, colour = self.context.lane_mark(lens.lane)
            line.add(glyph, p.style(colour))
        line.to(2).add("◆ " if name == self.overlay.second else "  ", p.style("warn"))
        names, terms, bars, second = self._shape(lens, width)
        if look is None:
            line.cell(visible(name), names, p.style("dim" if here else "faint"))
            room = max(0, width - line.width - 1)
            line.add(" " + not_applicable(lens.left_out[name], room), p.style("faint"))
        else:
            line.cell(visible(name), names, p.style("accent" if here else "text", bold=here))
            line.cell(_loss(look.loss), 8, p.style("text"), right=True)
            for term in ("policy", "kl", "value") if terms else ():
                value = look.terms.get(term, 0.0)
                shown = _loss(value) if value else MISSING
                line.cell(shown, 9, p.style("dim" if value else "faint"), right=True)
            line.cell(percent(look.clipped), 6, p.style("dim"), right=True)
            line.cell(number(look.weight) if look.weight else "0", 8, p.style("text"), right=True)
            line.add(" ")
            pair = lens.looks[name], lens.looks[lens.anchor]
            none = any(look.weight == 0 for look in pair)  # without a gradient, no direction
            value = None if none else lens.cosine.get(name, {}).get(lens.anchor)
            line.join(self._cosine(value, bars))
            if lens.parameters is not None:
                value = None if none else lens.parameters.get(name, {}).get(lens.anchor)
                line.add("  ").join(self._cosine(value, second))
        line.to(width).whole(("algorithm", name), width)
        return line.on(p.style("", "raised")) if here else line

    def _cosine(self, value: float | None, bar: int) -> Line:
        p = self.context.palette
        hue = "dim" if value is None else "plus" if value >= 0 else "minus"
        line = Line().cell(signed(value), 6, p.style("text"), right=True)
        return line.add(cosine_bar(value, bar), p.style(hue)) if bar else line

    def _foot(self, lens: Lens, width: int) -> list[Line]:
        """The terms of the selected algorithm's loss, and notes on zero losses or gradients."""
        p, name = self.context.palette, self.overlay.at
        look = lens.looks.get(name)
        out: list[Line] = []
        if look is None:
            told = f"{visible(name)}: n/a, {visible(lens.left_out[name])}"
            out += [Line(row, p.style("warn")) for row in wrap(told, width)]
        else:
            out += flow(self._terms(look), width, "  ")
            told = _otherwise(self.overlay, lens, look)
            out += [Line(row, p.style("dim")) for row in wrap(told, width) if row]
        if lens.no_gradient:
            out += [Line(row, p.style("warn")) for row in wrap(NO_GRADIENT, width)]
        elif lens.no_loss or lens.cancelled():
            out += [Line(row, p.style("dim")) for row in wrap(NO_LOSS, width)]
        return out

    def _terms(self, look: Look) -> list[Line]:
        p = self.context.palette
        head = Line(f"{visible(look.name)} ", p.style("accent", bold=True))
        parts = [head.add(f"loss {_loss(look.loss)}", p.style("text"))]
        for i, (term, value) in enumerate((k, v) for k, v in look.terms.items() if v):
            sign = "= " if i == 0 else "+ "
            parts.append(
                Line(f"{sign}{visible(term)} ", p.style("dim")).add(_loss(value), p.style("text"))
            )
        return parts


def _otherwise(overlay: LensScreen, lens: Lens, look: Look) -> str:
    """Names the settings that the lane's algorithm overrides, since the lens uses the paper's."""
    lane = overlay.context.state.lanes.get(lens.lane)
    if look.name != lens.current or lane is None:
        return ""
    name, _, settings = lane.in_force(lens.step)
    other = [k for k, v in settings.items() if k in look.settings and look.settings[k] != v]
    if name != look.name or not other:
        return ""
    told = "All use their paper's settings; the lane overrides "
    return told + ", ".join(map(visible, other))


def not_applicable(reason: str, width: int) -> str:
    """Why an algorithm is not applicable: in few words if the batch lacks an input, else cut."""
    for need, told in MISSING_INPUTS:
        if reason.startswith(f"needs {need}"):
            return clip(f"n/a: {told}", width)
    return clip(f"n/a: {visible(reason)}", width)


def cosine_bar(value: float | None, width: int) -> str:
    """A bar right of the middle for a positive cosine, left of it for a negative one."""
    half = (width - 1) // 2
    if value is None or not math.isfinite(value):
        return " " * half + "│" + " " * half
    halves = min(2 * half, round(abs(value) * 2 * half))
    if value >= 0:
        return " " * half + "│" + ("█" * (halves // 2) + "▌" * (halves % 2)).ljust(half)
    return ("▐" * (halves % 2) + "█" * (halves // 2)).rjust(half) + "│" + " " * half


def _loss(value: float) -> str:
    return "0" if abs(value) < 5e-7 else number(value)


class LensTokens(Box["LensScreen"]):
    title = "Tokens"

    def info(self) -> tuple[str, str]:
        s, lens = self.overlay, self.overlay.lens
        if lens is None:
            return "", ""
        where = f"prompt {s.group + 1}/{len(lens.prompts)} · "
        where += f"answer {s.answer + 1}/{len(lens.pieces[s.group])}"
        if (graded := s.graded) is None:
            return where, ""
        correct, reward = graded
        return where, f"{'● right' if correct else '○ wrong'} · reward {fixed(reward)}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.context.palette, self.overlay, self.overlay.lens
        if lens is None:
            return []
        pieces = lens.pieces[s.group][s.answer]
        out = [Line(clip(visible(lens.prompts[s.group]), width), p.style("dim"))]
        if not pieces:
            return [*out, Line("(empty answer)", p.style("faint"))]
        ours, theirs = lens.looks.get(s.at), lens.looks.get(s.other)
        others = None
        if theirs is not None and theirs is not ours:
            push = theirs.push(s.group, s.answer)
            others = (push, Scale("push", [theirs.limit(s.group)]))
        values = ours.push(s.group, s.answer) if ours is not None else []
        scale = Scale("push", [ours.limit(s.group) if ours is not None else 0.0])
        tall = 3 if others is not None else 2
        foot = self._foot(lens, values, others[0] if others is not None else None, width)
        if height < 12:
            foot.pop()  # the legend is in the help too
        rows = layout(tuple(pieces), width)
        for cells in around(rows, s.token, max(1, (height - 1 - len(foot)) // tall)):
            out += painted(p, cells, values, scale, s.token, others)
        out += [Line() for _ in range(height - len(out) - len(foot))]
        return [*out, *foot]

    def _foot(
        self, lens: Lens, ours: list[float], theirs: list[float] | None, width: int
    ) -> list[Line]:
        p, s = self.context.palette, self.overlay
        piece = lens.pieces[s.group][s.answer][s.token]
        head = Line(f"token {s.token + 1}/{len(lens.pieces[s.group][s.answer])} ", p.style("dim"))
        head.add(f"«{clip(shown(piece), 16)}»", p.style("text", bold=True))
        parts = [head]
        pairs = [(s.at, ours)] + ([(s.other, theirs)] if theirs is not None else [])
        for i, (name, values) in enumerate(pairs):
            line = Line(f"{visible(name)} ", p.style("accent" if i == 0 else "warn"))
            parts.append(line.join(_push(self, values[s.token] if s.token < len(values) else None)))
        legend = "−∂loss/∂log π: ▲ reinforced, ▼ penalized, · near 0"
        if theirs is not None:
            both = f"; marks: {visible(s.at)}, below {visible(s.other)}"
            legend += both if len(legend) + len(both) <= width else ""
        return [*flow(parts, width), Line(clip(legend, width), p.style("faint"))]


class LensExplained(Box["LensScreen"]):
    title = "Explained"

    def info(self) -> tuple[str, str]:
        s, lens = self.overlay, self.overlay.lens
        if lens is None or s.at not in lens.looks:
            return "", ""
        return visible(s.at).upper(), f"token {s.token + 1}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.context.palette, self.overlay, self.overlay.lens
        if lens is None:
            return []
        look = lens.looks.get(s.at)
        if look is None:
            why = f"not applicable: {visible(lens.left_out[s.at])}"
            return [Line(row, p.style("warn")) for row in wrap(why, width)]
        found = s.explained(look)
        if found is None:
            why = "Not explained: the log-probabilities of this step were not recorded."
            return [Line(row, p.style("faint")) for row in wrap(why, width)]
        formula, terms, branch = found
        values = look.gradient[s.group][s.answer]
        gradient = values[s.token] if s.token < len(values) else None
        end = explain_view.branch(p, branch, width, gradient)
        out = explain_view.formula(p, formula, width)
        rows = explain_view.table(p, terms, width)
        if len(out) + len(rows) + len(end) > height:
            rows = explain_view.short(p, terms, width)
        out += [*rows, *end]
        every = self._every(lens, width)
        return [*out, *every] if len(out) + len(every) <= height else out

    def _every(self, lens: Lens, width: int) -> list[Line]:
        """The token under all algorithms."""
        p, s = self.context.palette, self.overlay
        head = Line("── ", p.style("line")).add("this token under all, ", p.style("dim"))
        head.add("gradients divided by their norm ", p.style("faint"))
        head.add("─" * max(0, width - head.width), p.style("line"))
        cells = []
        for name, look in lens.looks.items():
            value = -look.gradient[s.group][s.answer][s.token] / (look.norm or 1.0)
            cell = Line().cell(visible(name), 21, p.style("accent" if name == s.at else "dim"))
            cells.append(cell.join(_push(self, value, 10)).add("  "))
            cells[-1].hits = [(0, 31, ("algorithm", name))]
        across = max(1, width // 33)
        tall = -(-len(cells) // across)
        out = [Line(), head]
        for i in range(tall):
            line = Line()
            for cell in cells[i::tall]:
                line.join(cell)
            out.append(line)
        return out


class LensApart(Box["LensScreen"]):
    title = "Where they disagree"

    def info(self) -> tuple[str, str]:
        s, lens = self.overlay, self.overlay.lens
        if lens is None or s.pair is None:
            return "", ""
        a, b = s.pair
        return (
            f"{visible(a).upper()} ◇ {visible(b).upper()}",
            f"cos {signed(lens.cosine.get(a, {}).get(b))}",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.context.palette, self.overlay, self.overlay.lens
        if lens is None:
            return []
        if s.pair is None:
            key = self.context.keymap.shown("lens_mark")
            why = f"Select another algorithm, or mark one with {key}, to list the tokens on which "
            why += "the two disagree most."
            return [Line(row, p.style("faint")) for row in wrap(why, width)]
        found = s.apart
        if not found:
            told = "Their gradients are the same on every token, up to a factor."
            if none := [name for name in s.pair if lens.looks[name].weight == 0]:
                told = f"No gradient on any token: {', '.join(map(visible, none))}."
            return [Line(row, p.style("faint")) for row in wrap(told, width)]
        wide = 9 if width < 70 else 14
        faint = p.style("faint")
        head = Line(" #   ", faint).cell("place", 11, faint)
        for name in s.pair:
            head.cell(clip(visible(name), wide), wide + 1, faint, right=True)
        head.add("  token in context", faint)
        room = window(len(found), min(s.chosen, len(found) - 1), max(1, height - 2))
        rows = [self._row(lens, i, found[i], width, wide) for i in room]
        legend = "normalized gradients  ▲ reinforced  ▼ penalized"
        return [head, *rows, Line(clip(legend, width), faint)]

    def _row(self, lens: Lens, i: int, x: Apart, width: int, wide: int) -> Line:
        p, s = self.context.palette, self.overlay
        here = self.here and i == s.chosen
        there = (x.group, x.answer, x.token) == (s.group, s.answer, s.token)
        line = Line("▸" if here else " ", p.style("accent")).add(f"{(i + 1) % 10} ", p.style("dim"))
        line.add("● " if there else "  ", p.style("accent"))
        line.cell(f"p{x.group + 1} a{x.answer + 1} t{x.token + 1}", 11, p.style("text"))
        for value in (x.ours, x.theirs):
            line.add(" " * (wide - 8)).join(_push(self, value, 9))
        pieces = lens.pieces[x.group][x.answer]
        before = shown("".join(pieces[max(0, x.token - 6) : x.token])) if x.token else ""
        after = (
            shown("".join(pieces[x.token + 1 : x.token + 8])) if x.token + 1 < len(pieces) else ""
        )
        around = 4 if width < 70 else 10
        line.add("  ").add(before[-around:], p.style("faint"))
        line.add(f"«{clip(shown(x.text), 14)}»", p.style("text", bold=True))
        line.add(clip(after, around), p.style("faint"))
        line.to(width).whole(("apart", i), width)
        return line.on(p.style("", "raised")) if here else line


def _push(part: Box[LensScreen], value: float | None, width: int = 0) -> Line:
    """−gradient of one token: its sign as a glyph, and the number."""
    p = part.context.palette
    if value is None:
        return Line().cell("n/a", width or 3, p.style("faint"), right=True)
    mark, hue = sign(value, 0.0)  # rounding error was set to 0 when the lens was read
    told = mark + directed(value)
    return Line().cell(told, width or len(told), p.style(hue), right=True)
