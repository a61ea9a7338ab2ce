"""The boxes of slow motion: the group with what happens to it, and the words to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style

from grpolab.tui import cards
from grpolab.tui.numbers import number, signed
from grpolab.tui.panes import told
from grpolab.tui.panes.rollouts import window
from grpolab.tui.panes.slow_update import update
from grpolab.tui.screens.sheet import Part
from grpolab.tui.story import STAGES, Beat, Story, shown_of
from grpolab.tui.text import Line, clip, visible, wrap
from grpolab.tui.token_rows import Row, Scale, around, layout, shown

if TYPE_CHECKING:
    from grpolab.tui.screens.slow import SlowScreen

TITLES = {
    "tokens": "the answers are written",
    "grade": "the grade falls",
    "advantage": "advantages spread",
    "objective": "the objective chooses",
    "gradient": "the gradient pushes",
    "update": "the update moves the tokens",
}
NUMBERS = "①②③④⑤⑥"


class SlowStage(Part["SlowScreen"]):
    """The picture."""

    title = "Slow motion"

    def info(self) -> tuple[str, str]:
        sheet: SlowScreen = self.sheet
        story = sheet.story
        if story is None:
            return "", ""
        where = f"step {story.r.step} · {visible(story.r.algorithm).upper()}"
        where += f" · prompt {story.prompt + 1} of {max(1, len(story.r.prompts))}"
        return where, TITLES[sheet.beat.stage] if sheet.beat else ""

    def content(self, width: int, height: int) -> list[Line]:
        sheet: SlowScreen = self.sheet
        story, beat = sheet.story, sheet.beat
        p = self.desk.palette
        if story is None or beat is None:
            return [Line(), *(Line(row, p.style("dim")) for row in wrap(sheet.waits(), width))]
        if beat.stage == "objective":
            return self._objective(story, beat, width, height)
        if beat.stage == "update" and story.changes:
            return update(p, story, beat, width, height)
        return self._group(story, beat, width, height)

    # the group, answer under answer

    def _group(self, story: Story, beat: Beat, width: int, height: int) -> list[Line]:
        rows = list(story.pieces)
        if not rows:
            return [Line("(no tokens)", self.desk.palette.style("faint"))]
        followed = rows.index(story.answer) if story.answer in rows else 0
        right = 0 if width < 50 else 12 if width < 96 else max(15, 6 * len(story.parts()) + 9)
        room = width - 4 - right
        each = 2 if beat.stage in ("advantage", "gradient") else 1
        tall = max(1, height // (each * len(rows)))  # rows of text that an answer may have
        count = min(len(rows), max(1, height // each))
        longest = max(len(x) for x in story.pieces.values())
        out: list[Line] = []
        for i in window(len(rows), followed, count):
            row = rows[i]
            out += self._answer(story, beat, row, room, right, tall, longest)
        return out[:height]

    def _answer(
        self, story: Story, beat: Beat, row: int, room: int, right: int, tall: int, longest: int
    ) -> list[Line]:
        p = self.desk.palette
        pieces = story.pieces[row]
        texts = tuple(shown(x) for x in pieces)
        lines = layout(texts, max(8, room))
        reached = shown_of(beat.share, longest)
        if beat.stage == "tokens":
            head, kept = min(reached, len(pieces) - 1), reached
        else:
            head, kept = len(pieces) - 1 if beat.stage == "grade" else reached, longest
        if len(lines) > tall == 1:
            lines = [_ending(texts, min(head, len(pieces) - 1), room - 1)]
        scale = values = None
        if beat.stage in ("advantage", "gradient"):
            by_row = story.advantage if beat.stage == "advantage" else story.push
            every = [x for xs in by_row.values() for x in xs]
            scale, values = Scale("push", every), by_row[row]
        still = beat.stage == "gradient" and values is not None
        held = {i for i, x in enumerate(values or ()) if still and not x and story.held((row, i))}
        back = beat.stage == "advantage" and story.critic
        lit = (len(pieces) - reached, len(pieces)) if back else (0, reached)
        out: list[Line] = []
        for k, cells in enumerate(around(lines, head, tall)):
            text, marks = Line(), Line()
            if k == 0:
                mark = "▸" if row == story.answer else " "
                text.add(f"{mark}{row - story.rows[0] + 1}", p.style("accent"))
                text.add(" …" if cells and cells[0][0] and text.width == 2 else "", p.style("dim"))
            text.to(4)
            marks.to(4)
            self._tokens(text, marks, cells, kept, lit, values, scale, held)
            if beat.stage == "tokens" and kept < len(pieces) and any(i == kept for i, _ in cells):
                text.add("▌", p.style("accent"))
            if k == 0 and right:
                text.to(4 + room + 1).join(self._aside(story, beat, row, right - 1))
            text.whole(("answer", row), 4)
            out.append(text)
            if scale is not None:
                out.append(marks)
        return out

    def _tokens(
        self, text: Line, marks: Line, cells: Row, kept: int, lit: tuple[int, int],
        values: list[float] | None, scale: Scale | None, held: set[int],
    ) -> None:  # fmt: skip
        """The tokens of one row that are there already, those that are lit on their colour."""
        p = self.desk.palette
        for i, piece in cells:
            if i >= kept:
                break
            style, before = p.style("text"), text.width
            if scale is not None and values and i < len(values) and lit[0] <= i < lit[1]:
                hue, strength, mark = scale.look(values[i])
                if i in held:
                    hue, mark = "warn", "✂"
                style = p.tint(hue, strength)
                marks.to(before).add(mark, p.style(hue))
            text.add(piece, style)

    def _aside(self, story: Story, beat: Beat, row: int, width: int) -> Line:
        """What stands to the right of an answer."""
        p, g = self.desk.palette, story.r.graded
        line = Line()
        if g is None or beat.stage == "tokens":
            ended = g is not None and g.finished[row] and beat.share == 1.0
            return line.add("■ ended" if ended else "", p.style("faint"))
        if beat.stage == "grade":
            names, fallen = story.parts(), beat.level
            few = width < 6 * len(names) + 8  # room for the one that falls, or for the sum
            sum_up = fallen > len(names)
            for name in names[:fallen] if not few else [] if sum_up else names[fallen - 1 : fallen]:
                worth = g.parts[row].get(name, 0.0)
                hue = "good" if worth > 0 else "bad" if worth < 0 else "faint"
                line.add(f"{signed(worth) if worth else '·':>5} ", p.style(hue))
            told = f"= {number(g.reward[row], 2)}"
            return line.add(told if sum_up else "", p.style("text", bold=True))
        if beat.stage == "advantage":
            return line.add(f"r {number(g.reward[row], 2)}", p.style("text"))
        flat = story.push[row]
        up, down = sum(x > 0 for x in flat), sum(x < 0 for x in flat)
        line.add(f"▲{up} ", p.style("plus" if up else "faint"))
        return line.add(f"▼{down}", p.style("minus" if down else "faint"))

    # one token under the formula

    def _objective(self, story: Story, beat: Beat, width: int, height: int) -> list[Line]:
        p = self.desk.palette
        if not story.focus:
            return [Line("(no tokens)", p.style("faint"))]
        row, at = story.focus[beat.focus]
        lines = layout(tuple(shown(x) for x in story.pieces[row]), max(8, width - 4))
        out: list[Line] = []
        for k, cells in enumerate(around(lines, at, 1 if height < 16 else 3)):
            line = Line()
            line.cell(f"▸{row - story.rows[0] + 1}" if k == 0 else "", 4, p.style("accent"))
            for i, piece in cells:
                line.add(piece, self._lit() if i == at else p.style("dim"))
            out.append(line)
        found = story.facts((row, at))
        card = cards.cards().get(story.r.algorithm)
        if found is None or card is None:
            return out
        terms, branch = found
        out.append(Line())
        out += told.formula(p, card.formula, width)
        out += [Line(), *told.short(p, terms, width)]
        if beat.level:
            out += [Line(), *told.branch(p, branch, width)]
        if len(out) > height:  # a low box: what moves has precedence over blank rows
            out = [line for line in out if line.width]
        keep = height if not beat.level else height - len(told.branch(p, branch, width))
        if len(out) > height and beat.level:  # then the branch over the terms
            return [*out[:keep], *told.branch(p, branch, width)][:height]
        return out

    def _lit(self) -> Style:
        return self.desk.palette.style("ground", "text", bold=True)


def _ending(texts: Sequence[str], head: int, room: int) -> Row:
    """One row of tokens that ends with `head`, or begins with the first where they all fit."""
    cells: Row = []
    used = 0
    for i in range(head, -1, -1):
        piece = clip(texts[i], room)
        used += cell_len(piece)
        if used > room:
            break
        cells.insert(0, (i, piece))
    for i in range(head + 1, len(texts)):
        used += cell_len(texts[i])
        if used > room:
            break
        cells.append((i, texts[i]))
    return cells


class SlowWords(Part["SlowScreen"]):
    """The caption, and how the telling goes."""

    title = "What happens"

    def info(self) -> tuple[str, str]:
        sheet: SlowScreen = self.sheet
        beat = sheet.beat
        if beat is None or sheet.story is None:
            return "", ""
        wide = self.size.width >= 100
        parts = []
        for i, stage in enumerate(STAGES):
            here = stage == beat.stage
            parts.append(f"[{NUMBERS[i]} {stage}]" if here else
                         f"{NUMBERS[i]} {stage}" if wide else NUMBERS[i])  # fmt: skip
        return " ".join(parts), f"{sheet.at + 1}/{len(sheet.story.beats)}"

    def content(self, width: int, height: int) -> list[Line]:
        sheet: SlowScreen = self.sheet
        p = self.desk.palette
        beat = sheet.beat
        caption = beat.caption if beat is not None else sheet.waits()
        rows = wrap(caption, width)[: max(1, height - 1)]
        out = [Line(row, p.style("text", bold=True)) for row in rows]
        while len(out) < height - 1:
            out.append(Line())
        status = Line()
        for text, hue in sheet.status():
            status.add(text, p.style(hue))
        return [*out, status]
