"""The lens's three views of tokens: an answer under one algorithm, where two disagree most, and the
selected token explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpolab.tui.numbers import directed, fixed, signed
from grpolab.tui.panes import told
from grpolab.tui.panes.rollouts import window
from grpolab.tui.screens.sheet import Part
from grpolab.tui.text import Line, clip, flow, visible, wrap
from grpolab.tui.token_rows import Scale, around, layout, painted, shown

if TYPE_CHECKING:
    from grpolab.tui.lens import Apart, Lens
    from grpolab.tui.screens.lens import LensScreen


class LensTokens(Part["LensScreen"]):
    title = "Tokens"

    def info(self) -> tuple[str, str]:
        s, lens = self.sheet, self.sheet.lens
        if lens is None:
            return "", ""
        where = f"prompt {s.group + 1}/{len(lens.prompts)} · "
        where += f"answer {s.answer + 1}/{len(lens.pieces[s.group])}"
        if (graded := s.graded) is None:
            return where, ""
        correct, reward = graded
        return where, f"{'● right' if correct else '○ wrong'} · reward {fixed(reward)}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.desk.palette, self.sheet, self.sheet.lens
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
            foot.pop()  # the legend stands in the help too
        rows = layout(tuple(pieces), width)
        for cells in around(rows, s.token, max(1, (height - 1 - len(foot)) // tall)):
            out += painted(p, cells, values, scale, s.token, others)
        out += [Line() for _ in range(height - len(out) - len(foot))]
        return [*out, *foot]

    def _foot(
        self, lens: Lens, ours: list[float], theirs: list[float] | None, width: int
    ) -> list[Line]:
        p, s = self.desk.palette, self.sheet
        piece = lens.pieces[s.group][s.answer][s.token]
        head = Line(f"token {s.token + 1}/{len(lens.pieces[s.group][s.answer])} ", p.style("dim"))
        head.add(f"«{clip(shown(piece), 16)}»", p.style("text", bold=True))
        parts = [head]
        pairs = [(s.at, ours)] + ([(s.other, theirs)] if theirs is not None else [])
        for i, (name, values) in enumerate(pairs):
            line = Line(f"{visible(name)} ", p.style("accent" if i == 0 else "warn"))
            parts.append(line.join(_push(self, values[s.token] if s.token < len(values) else None)))
        legend = "−∂loss/∂log π: ▲ pushed up, ▼ down, · hardly"
        if theirs is not None:
            legend += f"; marks of {visible(s.at)}, then of {visible(s.other)}"
        return [*flow(parts, width), Line(clip(legend, width), p.style("faint"))]


class LensExplained(Part["LensScreen"]):
    title = "Explained"

    def info(self) -> tuple[str, str]:
        s, lens = self.sheet, self.sheet.lens
        if lens is None or s.at not in lens.looks:
            return "", ""
        return visible(s.at).upper(), f"token {s.token + 1}"

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.desk.palette, self.sheet, self.sheet.lens
        if lens is None:
            return []
        look = lens.looks.get(s.at)
        if look is None:
            why = f"left out: {visible(lens.left_out[s.at])}"
            return [Line(row, p.style("warn")) for row in wrap(why, width)]
        found = s.explained(look)
        if found is None:
            why = "The step's log-probabilities are not at hand, so the token is not explained."
            return [Line(row, p.style("faint")) for row in wrap(why, width)]
        formula, terms, branch = found
        values = look.gradient[s.group][s.answer]
        gradient = values[s.token] if s.token < len(values) else None
        end = told.branch(p, branch, width, gradient)
        out = told.formula(p, formula, width)
        rows = told.table(p, terms, width)
        if len(out) + len(rows) + len(end) > height:
            rows = told.short(p, terms, width)
        out += [*rows, *end]
        every = self._every(lens, width)
        return [*out, *every] if len(out) + len(every) <= height else out

    def _every(self, lens: Lens, width: int) -> list[Line]:
        """The token under all algorithms, so that they can be compared."""
        p, s = self.desk.palette, self.sheet
        head = Line("── ", p.style("line")).add("this token under all, ", p.style("dim"))
        head.add("each gradient divided by its norm ", p.style("faint"))
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


class LensApart(Part["LensScreen"]):
    title = "Where they disagree"

    def info(self) -> tuple[str, str]:
        s, lens = self.sheet, self.sheet.lens
        if lens is None or s.pair is None:
            return "", ""
        a, b = s.pair
        return (
            f"{visible(a).upper()} ◇ {visible(b).upper()}",
            f"cos {signed(lens.cosine.get(a, {}).get(b))}",
        )

    def content(self, width: int, height: int) -> list[Line]:
        p, s, lens = self.desk.palette, self.sheet, self.sheet.lens
        if lens is None:
            return []
        if s.pair is None:
            key = self.desk.keymap.shown("lens_mark")
            why = f"Choose another algorithm, or mark one with {key}: here are then the tokens on "
            why += "which the two disagree most."
            return [Line(row, p.style("faint")) for row in wrap(why, width)]
        found = s.apart
        if not found:
            told = "Their gradients are the same on every token, but for a factor."
            return [Line(row, p.style("faint")) for row in wrap(told, width)]
        wide = 9 if width < 70 else 14
        faint = p.style("faint")
        head = Line(" #   ", faint).cell("place", 11, faint)
        for name in s.pair:
            head.cell(clip(visible(name), wide), wide + 1, faint, right=True)
        head.add("  token in its place", faint)
        room = window(len(found), min(s.chosen, len(found) - 1), max(1, height - 2))
        rows = [self._row(lens, i, found[i], width, wide) for i in room]
        legend = "each gradient divided by its norm, ▲ pushes up, ▼ down"
        return [head, *rows, Line(clip(legend, width), faint)]

    def _row(self, lens: Lens, i: int, x: Apart, width: int, wide: int) -> Line:
        p, s = self.desk.palette, self.sheet
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


def _push(part: Part[LensScreen], value: float | None, width: int = 0) -> Line:
    """A push with its sign in a glyph and in the number."""
    p = part.desk.palette
    if value is None:
        return Line().cell("left out", width or 8, p.style("faint"), right=True)
    mark, hue = ("·", "dim") if value == 0 else ("▲", "plus") if value > 0 else ("▼", "minus")
    told = mark + directed(value)
    return Line().cell(told, width or len(told), p.style(hue), right=True)
