"""The boxes of slow motion: the group in its current stage, and the caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style

from grpolab.tui import algorithm_cards
from grpolab.tui.formulas import explain_view
from grpolab.tui.lab.rollouts import window
from grpolab.tui.slow_motion.beats import shown_of
from grpolab.tui.slow_motion.model import STAGES, Beat, Story
from grpolab.tui.widgets.overlay import Box
from grpolab.tui.widgets.palette import Palette
from grpolab.tui.widgets.signs import sign
from grpolab.tui.widgets.text import Line, clip, number, signed, visible, wrap
from grpolab.tui.widgets.token_rows import Row, Scale, around, layout, shown

if TYPE_CHECKING:
    from grpolab.tui.slow_motion.screen import SlowScreen

TITLES = {
    "tokens": "sampling the answers",
    "grade": "rewards",
    "advantage": "advantages",
    "objective": "objective of single tokens",
    "gradient": "gradient weights",
    "update": "change by the update",
}
NUMBERS = "①②③④⑤⑥"


class SlowStage(Box["SlowScreen"]):
    """The group in the current stage."""

    title = "Slow motion"

    def info(self) -> tuple[str, str]:
        overlay: SlowScreen = self.overlay
        story = overlay.story
        if story is None:
            return "", ""
        where = f"step {story.r.step} · {visible(story.r.algorithm).upper()}"
        where += f" · prompt {story.prompt + 1} of {max(1, len(story.r.prompts))}"
        return where, TITLES[overlay.beat.stage] if overlay.beat else ""

    def content(self, width: int, height: int) -> list[Line]:
        overlay: SlowScreen = self.overlay
        story, beat = overlay.story, overlay.beat
        p = self.context.palette
        if story is None or beat is None:
            return [Line(), *(Line(row, p.style("dim")) for row in wrap(overlay.waits(), width))]
        if beat.stage == "objective":
            return self._objective(story, beat, width, height)
        if beat.stage == "update" and story.changes:
            return update(p, story, beat, width, height)
        return self._group(story, beat, width, height)

    # the group, answer under answer

    def _group(self, story: Story, beat: Beat, width: int, height: int) -> list[Line]:
        rows = list(story.pieces)
        if not rows:
            return [Line("(no tokens)", self.context.palette.style("faint"))]
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
        p = self.context.palette
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
        clipped = {
            i for i, x in enumerate(values or ()) if still and not x and story.clipped((row, i))
        }
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
            self._tokens(text, marks, cells, kept, lit, values, scale, clipped)
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
        values: list[float] | None, scale: Scale | None, clipped: set[int],
    ) -> None:  # fmt: skip
        """The tokens of one row that are there already, those that are lit on their color."""
        p = self.context.palette
        for i, piece in cells:
            if i >= kept:
                break
            style, before = p.style("text"), text.width
            if scale is not None and values and i < len(values) and lit[0] <= i < lit[1]:
                hue, strength, mark = scale.look(values[i])
                if i in clipped:
                    hue, mark = "warn", "✂"
                style = p.tint(hue, strength)
                marks.to(before).add(mark, p.style(hue))
            text.add(piece, style)

    def _aside(self, story: Story, beat: Beat, row: int, width: int) -> Line:
        """Numbers to the right of an answer."""
        p, g = self.context.palette, story.r.graded
        line = Line()
        if g is None or beat.stage == "tokens":
            ended = g is not None and g.finished[row] and beat.share == 1.0
            return line.add("■ ended" if ended else "", p.style("faint"))
        if beat.stage == "grade":
            names, fallen = story.parts(), beat.level
            few = width < 6 * len(names) + 8  # room for one part, or for the sum
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
        p = self.context.palette
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
        card = algorithm_cards.cards().get(story.r.algorithm)
        if found is None or card is None:
            return out
        terms, branch = found
        out.append(Line())
        out += explain_view.formula(p, card.formula, width)
        out += [Line(), *explain_view.short(p, terms, width)]
        if beat.level:
            out += [Line(), *explain_view.branch(p, branch, width)]
        if len(out) > height:  # a low box: drop the blank rows first
            out = [line for line in out if line.width]
        keep = height if not beat.level else height - len(explain_view.branch(p, branch, width))
        if len(out) > height and beat.level:  # then keep the branch rather than the terms
            return [*out[:keep], *explain_view.branch(p, branch, width)][:height]
        return out

    def _lit(self) -> Style:
        return self.context.palette.style("ground", "text", bold=True)


def _ending(texts: Sequence[str], head: int, room: int) -> Row:
    """One row of tokens that ends with token `head`, or starts with the first if all fit."""
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


def update(p: Palette, story: Story, beat: Beat, width: int, height: int) -> list[Line]:
    """One row per token, largest changes first; the bar moves from before to after. ×3: three
    answers share this token and everything before it."""
    wide = width - 48
    head = Line().cell("answer", 7, p.style("faint")).cell("token", 18, p.style("faint"))
    head.cell("grad", 7, p.style("faint")).cell("before", 8, p.style("faint"), right=True)
    after = "after" if story.measured else "so far"
    head.cell(after if beat.share else "", 8, p.style("faint"), right=True)
    out = [head]
    for (row, t), old, new, same in story.changes[: max(0, height - 1)]:
        now = old + beat.share * (new - old)
        push = story.push[row][t] if t < len(story.push[row]) else 0.0
        mark, hue = sign(push)
        if not push and story.clipped((row, t)):
            mark, hue = "✂ clip", "warn"
        line = Line().cell(f"{row - story.rows[0] + 1:>2}", 3, p.style("accent"))
        line.cell(f"×{same}" if same > 1 else "", 4, p.style("faint"))
        line.cell(f"#{t + 1}", 5, p.style("faint"))
        piece = clip(shown(story.pieces[row][t]), 13)
        line.cell(piece, 13, p.style("text", bold=(row, t) in story.focus))
        line.cell(f"{mark}", 7, p.style(hue)).cell(_share(old), 8, p.style("dim"), right=True)
        moved = beat.share > 0
        grew = "plus" if new > old else "minus" if new < old else "dim"
        line.cell(_share(now) if moved else "", 8, p.style(grew, bold=True), right=True)
        if wide >= 8:
            line.add(" ").join(_bar(p, old, now, wide - 1, grew))
        out.append(line)
    return out


def _share(x: float) -> str:
    """A probability in percent; a small one as a number."""
    return f"{100 * x:.1f}%" if x >= 0.001 else number(x, 2)


def _bar(p: Palette, old: float, now: float, width: int, hue: str) -> Line:
    """A probability from 0 to 1; the part gained ▓ or lost ░ is colored."""
    a, b = round(min(old, 1.0) * width), round(min(now, 1.0) * width)
    line = Line("█" * min(a, b), p.style("dim"))
    line.add(("▓" if b > a else "░") * abs(b - a), p.style(hue))
    return line.add("·" * (width - max(a, b)), p.style("line"))


class SlowCaption(Box["SlowScreen"]):
    """The caption, the stages and the playback status."""

    title = "Caption"

    def info(self) -> tuple[str, str]:
        overlay: SlowScreen = self.overlay
        beat = overlay.beat
        if beat is None or overlay.story is None:
            return "", ""
        wide = self.size.width >= 100
        parts = []
        for i, stage in enumerate(STAGES):
            here = stage == beat.stage
            parts.append(f"[{NUMBERS[i]} {stage}]" if here else
                         f"{NUMBERS[i]} {stage}" if wide else NUMBERS[i])  # fmt: skip
        return " ".join(parts), f"{overlay.at + 1}/{len(overlay.story.beats)}"

    def content(self, width: int, height: int) -> list[Line]:
        overlay: SlowScreen = self.overlay
        p = self.context.palette
        beat = overlay.beat
        caption = beat.caption if beat is not None else overlay.waits()
        rows = wrap(caption, width)[: max(1, height - 1)]
        out = [Line(row, p.style("text", bold=True)) for row in rows]
        while len(out) < height - 1:
            out.append(Line())
        status = Line()
        for text, hue in overlay.status():
            status.add(text, p.style(hue))
        return [*out, status]
